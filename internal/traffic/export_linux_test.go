package traffic

const Chunk = chunk

var (
	Say  = say
	Hear = hear
)
