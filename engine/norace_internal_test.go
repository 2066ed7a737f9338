//go:build !race

package engine

// raceEnabled says that the race detector is on.
const raceEnabled = false
