package agent

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLauncherPassesWhatIsRead checks that the launcher passes every variable that this
// package reads, and none that is suspicious.
func TestLauncherPassesWhatIsRead(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "task", "index.js"))
	if err != nil {
		t.Fatal(err)
	}
	list := func(name string) (values []string) {
		found := regexp.MustCompile(`(?s)const PASSED = \{.*?` + name + `: \[(.*?)\]`).FindSubmatch(content)
		if found == nil {
			t.Fatalf("the launcher has no list %s", name)
		}
		for _, value := range regexp.MustCompile(`'([^']+)'`).FindAllStringSubmatch(string(found[1]), -1) {
			values = append(values, value[1])
		}
		return values
	}
	prefixes, names := list("prefixes"), list("names")
	passes := func(name string) bool {
		return slices.Contains(names, name) || slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	}
	read := []string{"ENDPOINT_AUTH_PARAMETER_x_ACCESSTOKEN", "ENDPOINT_DATA_x_ENVIRONMENT", "TF_BUILD"}
	for _, of := range []any{Config{}, Claims{}, Terminal{}, settings{}} {
		for i := range reflect.TypeOf(of).NumField() {
			if name := reflect.TypeOf(of).Field(i).Tag.Get("env"); name != "" && !strings.HasPrefix(name, "FLAG_") {
				read = append(read, name)
			}
		}
	}
	if len(read) < 60 {
		t.Errorf("only %d variables are read", len(read))
	}
	for _, name := range read {
		if !passes(name) {
			t.Errorf("the launcher does not pass %s", name)
		}
	}
	for _, name := range append([]string{"AZURE_CLIENT_ID", "PATH", "HOME", "SECRET_X", "SECUREFILE_TICKET_X"}, suspiciousVariables...) {
		if passes(name) {
			t.Errorf("the launcher passes %s", name)
		}
	}
	if !strings.Contains(string(content), "'"+withheldVariable+"'") {
		t.Errorf("the launcher does not set %s", withheldVariable)
	}
}

// TestWithheldVariables checks that what the launcher does not pass on is reported as
// if it were set.
func TestWithheldVariables(t *testing.T) {
	for value, want := range map[string][]string{
		`["OWN","NODE_OPTIONS","LD_PRELOAD","https_proxy"]`: {"LD_PRELOAD", "NODE_OPTIONS", "SSL_CERT_FILE", "https_proxy"},
		`["SSL_CERT_FILE"]`:        {"SSL_CERT_FILE"},
		`[]`:                       {"SSL_CERT_FILE"},
		`["LD_PRELOAD`:             {"SSL_CERT_FILE"},
		`{"LD_PRELOAD":"x"}`:       {"SSL_CERT_FILE"},
		`["a\n##vso[x]b", "PATH"]`: {"SSL_CERT_FILE"},
	} {
		c, _ := Read(nil, []string{"INPUT_ACTION=seal", withheldVariable + "=" + value, "SSL_CERT_FILE=/x", "LD_AUDIT="})
		if !slices.Equal(c.Suspicious, want) {
			t.Errorf("%s: %v, want %v", value, c.Suspicious, want)
		}
	}
	_, err := Read(nil, []string{"INPUT_ACTION=seal", withheldVariable + `=["GODEBUG"]`})
	if err == nil || !strings.Contains(err.Error(), "GODEBUG is set") {
		t.Errorf("GODEBUG: %v", err)
	}
}

func TestWatchLauncher(t *testing.T) {
	for input, want := range map[string]bool{
		launcherGreeting:          true,
		launcherGreeting + "more": true,
		"":                        false,
		"acrpromote-launcher":     false,
		"Acrpromote-launcher\n":   false,
		strings.Repeat("x", 1000): false,
		"\n" + launcherGreeting:   false,
	} {
		gone := false
		WatchLauncher(strings.NewReader(input), func() { gone = true })
		if gone != want {
			t.Errorf("input %q: gone %v, want %v", input, gone, want)
		}
	}
}

// TestWatchLauncherWaits checks that the launcher counts as running while it
// keeps the stream open.
func TestWatchLauncherWaits(t *testing.T) {
	reader, writer := io.Pipe()
	gone := make(chan bool, 1)
	done := make(chan bool)
	go func() { WatchLauncher(reader, func() { gone <- true }); close(done) }()
	if _, err := io.WriteString(writer, launcherGreeting); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
		t.Fatal("gone while the stream is open")
	default:
	}
	writer.Close()
	<-done
	if len(gone) != 1 {
		t.Fatal("the end of the stream was not noticed")
	}
}
