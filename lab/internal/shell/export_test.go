package shell

// Reparse is reparse, for tests.
func (s *Shells) Reparse(name, text string) (string, error) { return s.reparse(name, text) }
