//go:build !linux

// Package nodes is for Linux.
package nodes
