// Command packtexts compresses the texts that are embedded in the program, and prints
// the path of a file that go build -overlay takes, so that the build embeds the
// compressed ones. Package packed reads them.
//
//	packtexts FOLDER TEXT...
package main

import (
	"acrpromote/internal/regularfile"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: packtexts FOLDER TEXT...")
		os.Exit(2)
	}
	overlay, err := pack(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(overlay)
}

// pack writes the compressed texts and the overlay to a folder, and returns the path of
// the overlay. The same texts give the same bytes.
func pack(folder string, texts []string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for i, text := range texts {
		content, err := os.ReadFile(text)
		if err != nil {
			return "", err
		}
		path, err := filepath.Abs(text)
		if err != nil {
			return "", err
		}
		packed, err := compress(content)
		if err != nil {
			return "", err
		}
		overlay.Replace[path] = filepath.Join(folder, fmt.Sprintf("%d-%s.gz", i, filepath.Base(text)))
		if err := regularfile.Replace(overlay.Replace[path], packed); err != nil {
			return "", err
		}
	}
	document, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "overlay.json")
	return path, regularfile.Replace(path, document)
}

func compress(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
