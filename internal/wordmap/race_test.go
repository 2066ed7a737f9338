//go:build race

package wordmap_test

const raceEnabled = true
