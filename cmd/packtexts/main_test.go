package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"acrpromote/internal/packed"
)

// TestBuildPacksEveryText checks that the build packs each text that the program reads
// with package packed, and that no other file is embedded as it is.
func TestBuildPacksEveryText(t *testing.T) {
	script, err := os.ReadFile("../../build.sh")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)packed_texts=\(([^)]*)\)`).FindSubmatch(script)
	if list == nil {
		t.Fatal("build.sh has no packed_texts")
	}
	var texts []string
	for _, text := range strings.Fields(strings.ReplaceAll(string(list[1]), "\\\n", " ")) {
		texts = append(texts, filepath.Join("..", "..", text))
	}
	overlay, err := pack(t.TempDir(), texts)
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Replace map[string]string }
	if content, err := os.ReadFile(overlay); err != nil || json.Unmarshal(content, &read) != nil || len(read.Replace) != len(texts) {
		t.Fatalf("%v: %s", err, content)
	}
	for text, with := range read.Replace {
		plain, err := os.ReadFile(text)
		if err != nil {
			t.Fatal(err)
		}
		small, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		if len(small) >= len(plain) || packed.Text(string(small)) != string(plain) {
			t.Errorf("%s is not the same after packing %d bytes to %d", text, len(plain), len(small))
		}
	}
	embedded, err := exec.Command("go", "list", "-f", `{{$dir := .Dir}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}`, "-deps", "acrpromote/cmd/acrpromote").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The schema of results is embedded for tests; the linker drops it.
	schema := filepath.Join(root, "internal", "report", "schema.json")
	for _, file := range strings.Fields(string(embedded)) {
		file = filepath.FromSlash(file)
		if strings.HasPrefix(file, root) && read.Replace[file] == "" && file != schema {
			t.Errorf("%s is embedded as it is: pack it in build.sh, and read it with package packed", file)
		}
	}
}

func TestPackIsReproducible(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, folder := range []string{one, two, two} {
		if _, err := pack(folder, []string{"main.go", "main_test.go"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0-main.go.gz", "1-main_test.go.gz"} {
		a, err := os.ReadFile(filepath.Join(one, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil || string(a) != string(b) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	if _, err := pack(one, []string{"none.txt"}); err == nil {
		t.Error("a text that does not exist was packed")
	}
}
