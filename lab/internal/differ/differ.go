// Package differ holds two ways to run a script against each other: bash with the real tools on the Linux kernel, and the
// lab. What they gave is brought into a normal form first, in which only that is masked which may differ between two runs
// of the same kernel, and then compared line by line and, for what the script captured, field by field.
//
//	script ─┬─▶ Kernel.Run ─▶ Result ─▶ Normalise ─▶ Normal ─┐
//	        └─▶ lab        ─▶ Result ─▶ Normalise ─▶ Normal ─┴─▶ Compare ─▶ report
//
// [UML] is a second kernel, for the kinds of device that this machine's may lack. A Normal is text too, so what the kernel gave is kept as golden files, against which the lab is tested where there is no
// root, or no Linux.
package differ

import "time"

// Script is a script to be run.
type Script struct {
	Name string // of its file, without directory; what bash calls it in its messages
	Text string
}

// Result is what a run gave.
type Result struct {
	Output string // standard output
	Errors string // standard error; shown, not compared: scripts say 2>&1 where it matters
	Exit   int    // the script's exit code

	// Captures are the files named *.pcap in the script's working directory when it ended, by name.
	Captures map[string][]byte
}

// Runner runs scripts, each in a network of its own that is gone afterwards. What the script does wrong is part of the
// result; an error says that it could not be run.
type Runner interface {
	Run(Script) (Result, error)
}

// Patience bounds a run in real time. Most scripts take a few seconds, but one waits five minutes for a table to forget.
const Patience = 7 * time.Minute
