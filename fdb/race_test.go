//go:build race

package fdb_test

const raceEnabled = true
