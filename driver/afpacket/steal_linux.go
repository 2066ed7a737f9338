package afpacket

type classifier struct{}

func (c *classifier) install(int) error    { return nil }
func (c *classifier) close() error         { return nil }
func (d *Driver) setSteal(f *Filter) error { return nil }
