package proc

// Files of the lab's own, such as those in /proc/sys: they exist for the lab's commands and shells, not for the machine.

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// FileFunc opens a file of the lab's own, by its absolute name; flag is os.OpenFile's. false: it is none.
type FileFunc func(p *Proc, name string, flag int) (io.ReadWriteCloser, bool, error)

// OpenVirtual opens a file of the lab's own, and returns false if it is none.
func (s *System) OpenVirtual(p *Proc, name string, flag int) (io.ReadWriteCloser, bool, error) {
	for _, open := range s.Files {
		if f, ok, err := open(p, name, flag); ok {
			return f, true, err
		}
	}
	return nil, false, nil
}

// TextFile returns a file with a text, which can only be read.
func TextFile(text string) io.ReadWriteCloser { return textFile{strings.NewReader(text)} }

type textFile struct{ io.Reader }

func (textFile) Write([]byte) (int, error) { return 0, os.ErrPermission }
func (textFile) Close() error              { return nil }

// StatVirtual returns what a file or directory of the lab's own is, and false if it is none.
func (s *System) StatVirtual(p *Proc, name string) (fs.FileInfo, bool) {
	name = strings.TrimSuffix(name, "/")
	for _, path := range s.paths(p, name) {
		if path == name {
			return fileInfo{name: name}, true
		}
		if strings.HasPrefix(path, name+"/") {
			return fileInfo{name: name, dir: true}, true
		}
	}
	return nil, false
}

// ReadVirtualDir returns what is in a directory of the lab's own, by name, and false if it is none.
func (s *System) ReadVirtualDir(p *Proc, name string) ([]fs.DirEntry, bool) {
	name = strings.TrimSuffix(name, "/") + "/"
	seen := map[string]bool{} // true: a directory
	for _, path := range s.paths(p, name) {
		if rest, ok := strings.CutPrefix(path, name); ok {
			first, _, dir := strings.Cut(rest, "/")
			seen[first] = dir
		}
	}
	var all []fs.DirEntry
	for first, dir := range seen {
		all = append(all, fs.FileInfoToDirEntry(fileInfo{name: first, dir: dir}))
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, len(all) > 0
}

// paths returns all names, and none where a name cannot be one of the lab's own anyway.
func (s *System) paths(p *Proc, name string) []string {
	if !strings.HasPrefix(name, "/proc/") && !strings.HasPrefix(name, "/sys/") {
		return nil
	}
	var all []string
	for _, f := range s.Paths {
		all = append(all, f(p)...)
	}
	return all
}

// fileInfo is a file or directory of the lab's own.
type fileInfo struct {
	name string
	dir  bool
}

func (i fileInfo) Name() string     { return i.name }
func (fileInfo) Size() int64        { return 0 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool      { return i.dir }
func (fileInfo) Sys() any           { return nil }

func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o644
}
