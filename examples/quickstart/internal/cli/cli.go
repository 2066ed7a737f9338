// Package cli is what both jobs of quickstart do alike with a command line: exit codes, files and standard output.
package cli

import (
	"errors"
	"io"
	"os"
)

// Exit codes.
const (
	OK    = 0
	Fault = 1 // something could not be read or written, or did not come out as it should
	Usage = 2
)

// UsageError is an error of the command line that shows only when files are looked at.
type UsageError struct{ Text string }

// Error implements error.
func (e UsageError) Error() string { return e.Text }

// ExitCode returns the exit code for an error that ends the program before it has begun.
func ExitCode(err error) int {
	var usage UsageError
	if errors.As(err, &usage) {
		return Usage
	}
	return Fault
}

// Named stores a flag's file name, which must not be empty: an unset shell variable is not 'no file'.
func Named(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("want a file name, or - for standard input and output")
		}
		*to = s
		return nil
	}
}

// Created is a file to be written, or standard output.
type Created struct {
	io.Writer
	Name  string // for messages
	Close func() error
}

// Create creates the file of that name; "-" is stdout, which must not be a terminal.
func Create(name string, stdout io.Writer) (Created, error) {
	if name != "-" {
		f, err := os.Create(name)
		if err != nil {
			return Created{}, err
		}
		return Created{f, name, f.Close}, nil
	}
	if IsTerminal(stdout) {
		return Created{}, UsageError{"-w - writes pcapng to standard output, which is a terminal: redirect it"}
	}
	return Created{stdout, "standard output", func() error { return nil }}, nil
}
