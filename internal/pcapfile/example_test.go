package pcapfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

func Example() {
	var file bytes.Buffer
	w, err := pcapfile.NewWriter(&file, pcapfile.WriterConfig{Application: "example"})
	if err != nil {
		log.Fatal(err)
	}
	eth0, err := w.AddInterface(pcapfile.Interface{Name: "eth0", LinkType: pcapfile.LinkEthernet})
	if err != nil {
		log.Fatal(err)
	}
	when := time.Date(2024, 5, 1, 12, 0, 0, 250, time.UTC)
	if err := w.WritePacket(eth0, when, []byte("the first 16 B.."), 60); err != nil {
		log.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}

	r, err := pcapfile.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		name := r.Interfaces()[p.Interface].Name
		fmt.Printf("%d: %s %s %s, %d of %d bytes\n", p.Number, p.Time.Format(time.RFC3339Nano), name, p.LinkType, len(p.Data), p.WireLen)
	}
	// Output:
	// 1: 2024-05-01T12:00:00.00000025Z eth0 EN10MB, 16 of 60 bytes
}
