//go:build race

package engine_test

// underRace says that the race detector is on, which allocates where the engine does not.
const underRace = true
