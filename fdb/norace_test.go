//go:build !race

package fdb_test

const raceEnabled = false
