//go:build !linux

// Package traffic is for Linux.
package traffic
