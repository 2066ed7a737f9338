//go:build !linux

// Package ring is empty but on Linux.
package ring
