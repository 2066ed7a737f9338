package lab

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Scripts that show what culvert can do, one for each kind of network.
//
//go:embed samples/*.sh
var samples embed.FS

// Sample is a script that comes with the lab.
type Sample struct {
	Name   string
	Title  string // what it shows, in a line
	Script string
}

// Samples returns the scripts that come with the lab, by name.
func Samples() []Sample {
	names, _ := fs.Glob(samples, "samples/*.sh") // the pattern is right
	all := make([]Sample, 0, len(names))
	for _, file := range names {
		b, err := samples.ReadFile(file)
		if err != nil {
			continue
		}
		all = append(all, Sample{Name: strings.TrimSuffix(path.Base(file), ".sh"), Title: title(string(b)), Script: string(b)})
	}
	return all
}

// title returns the first line of a script's comment.
func title(script string) string {
	for line := range strings.Lines(script) {
		if text, ok := strings.CutPrefix(line, "# "); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// FindSample returns the sample of that name.
func FindSample(name string) (Sample, error) {
	for _, s := range Samples() {
		if s.Name == name {
			return s, nil
		}
	}
	return Sample{}, fmt.Errorf("lab: no sample is called %q", name)
}
