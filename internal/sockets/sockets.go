// Package sockets is what drivers for Linux share: a descriptor that the Go runtime waits for, and many messages in one system
// call. It is empty elsewhere.
package sockets
