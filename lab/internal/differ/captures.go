package differ

import (
	"os"
	"path/filepath"
)

// Captures reads the files named *.pcap of a directory: what [Result.Captures] is.
func Captures(dir string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	files := make(map[string][]byte, len(paths))
	for _, path := range paths {
		if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return files, nil
}
