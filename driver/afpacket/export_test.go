package afpacket

import "golang.org/x/net/bpf"

// Code returns the programs that a filter becomes: that of a packet socket, and that of the tc hook.
func Code(f *Filter) (receiving, stealing []bpf.Instruction, err error) {
	if receiving, err = f.code(receive); err != nil {
		return nil, nil, err
	}
	stealing, err = f.code(steal)
	return receiving, stealing, err
}
