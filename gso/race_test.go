//go:build race

package gso_test

const raceEnabled = true
