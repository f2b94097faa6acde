package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		address string
		valid   bool
	}{
		{"", true},
		{"https://docs.example.com", true},
		{"https://docs.example.com/acrpromote", true},
		{"https://docs.example.com:8443/a/b.c/~d_e-1", true},
		{"http://docs.example.com", false},
		{"HTTPS://docs.example.com", false},
		{"docs.example.com", false},
		{"https://", false},
		{"https:///docs", false},
		{"https://docs.example.com/", false},
		{"https://docs.example.com/acrpromote/", false},
		{"https://docs.example.com//acrpromote", false},
		{"https://docs.example.com/acrpromote ", false},
		{" https://docs.example.com", false},
		{"https://docs.example.com/a b", false},
		{"https://docs.example.com/acrpromote\n", false},
		{"https://docs.example.com/?page=1", false},
		{"https://docs.example.com/#top", false},
		{"https://user@docs.example.com", false},
		{"https://docs.example.com/a%2Fb", false},
		{"https://docs.example.com/)[x](y", false},
		{`https://docs.example.com/"`, false},
		{"https://docs.example.com/' -X main.version=2", false},
		{"https://-docs.example.com", false},
		{"https://docs.example.com:", false},
		{"javascript:alert(1)", false},
	} {
		file := filepath.Join(t.TempDir(), "vss-extension.json")
		content, err := json.Marshal(map[string]any{"publisher": "p", "documentation": c.address})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		address, err := read(file)
		if (err == nil) != c.valid || err == nil && address != c.address || err != nil && !strings.Contains(err.Error(), "https://") {
			t.Errorf("%q: %q, %v", c.address, address, err)
		}
	}
	for name, content := range map[string]string{"none.json": `{"publisher": "p"}`, "broken.json": `{`, "number.json": `{"documentation": 1}`} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if address, err := read(file); address != "" || (err == nil) != (name == "none.json") {
			t.Errorf("%s: %q, %v", name, address, err)
		}
	}
	if _, err := read(filepath.Join(t.TempDir(), "absent.json")); err == nil {
		t.Error("an absent file is read")
	}
}

// TestOwnManifest checks that the setting is there, and empty.
func TestOwnManifest(t *testing.T) {
	file := filepath.Join("..", "..", "vss-extension.json")
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), `"documentation": "`) {
		t.Fatalf("%s has no setting for the address: %v", file, err)
	}
	if _, err := read(file); err != nil {
		t.Error(err)
	}
}
