package internal_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// script returns the only bash step of an example.
func script(t *testing.T, file string) string {
	t.Helper()
	var pipeline struct {
		Jobs []struct {
			Steps []struct {
				Bash string `yaml:"bash"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, file)), &pipeline); err != nil {
		t.Fatal(err)
	}
	for _, step := range pipeline.Jobs[0].Steps {
		if step.Bash != "" {
			return step.Bash
		}
	}
	t.Fatalf("%s has no bash step", file)
	return ""
}

// TestNightlyFields checks that the fields of result.json that the nightly example reads
// exist.
func TestNightlyFields(t *testing.T) {
	_, program, _ := strings.Cut(script(t, "../examples/nightly-audit.yml"), "jq -r --arg run")
	program, _, found := strings.Cut(program, `"$REPORT"`)
	if !found {
		t.Fatal("the script does not read the report")
	}
	type object struct {
		Properties map[string]struct {
			Items *struct{ Properties map[string]any }
		}
	}
	var schema object
	if err := json.Unmarshal([]byte(read(t, "report/schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for name := range schema.Properties {
		known[name] = true
	}
	for _, list := range []string{"drift", "errors"} {
		for name := range schema.Properties[list].Items.Properties {
			known[list+"."+name] = true
		}
	}
	under, read := "", 0
	for _, match := range regexp.MustCompile(`[^\w]\.([a-zA-Z]\w*)`).FindAllStringSubmatch(program, -1) {
		name := match[1]
		if name == "drift" || name == "errors" || name == "outcome" {
			under = name
		} else {
			name = under + "." + name
		}
		if read++; !known[name] {
			t.Errorf("the example reads %s, which result.json does not have", name)
		}
	}
	if read < 10 {
		t.Errorf("the example reads %d fields", read)
	}
}

// TestNightlyWorkItem runs the script of the nightly example.
func TestNightlyWorkItem(t *testing.T) {
	for _, tool := range []string{"bash", "jq", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s", tool)
		}
	}
	text := script(t, "../examples/nightly-audit.yml")
	result := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(result, []byte(`{"outcome": "partial", "errors": [{"side": "source", "subject": "prod", "reason": "denied"}, {"side": "target", "subject": "dev", "reason": "as below"}],
		"drift": [{"kind": "extra-tag", "registry": "dev", "repository": "shop/<b>", "tag": "9", "digest": "", "reason": "who?"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const described = `Run 4711: partial, 1 findings of drift.<br>extra-tag: dev/shop/&lt;b&gt; 9: who?<br>prod: denied`
	for _, c := range []struct{ name, found, want string }{
		{"none is open", `{"workItems":[]}`, "application/json-patch+json /org/p/_apis/wit/workitems/$Issue " + described},
		{"one is open", `{"workItems":[{"id":12},{"id":9}]}`, "application/json /org/p/_apis/wit/workItems/12/comments " + described},
	} {
		var sent []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer a-token" || !strings.HasPrefix(r.URL.Query().Get("api-version"), "7.1") {
				t.Errorf("%s: %s %s", c.name, r.Method, r.URL)
			}
			if strings.HasSuffix(r.URL.Path, "/wiql") {
				var asked struct{ Query string }
				if err := json.Unmarshal(body, &asked); err != nil || !strings.Contains(asked.Query, "[System.Title] = 'Drift of flow released'") {
					t.Errorf("%s: %s, %v", c.name, body, err)
				}
				fmt.Fprint(w, c.found)
				return
			}
			var comment struct{ Text string }
			if strings.HasPrefix(string(body), "[") {
				var patch []struct{ Op, Path, Value string }
				if err := json.Unmarshal(body, &patch); err != nil || len(patch) != 2 || patch[0].Value != "Drift of flow released" || patch[1].Path != "/fields/System.Description" {
					t.Errorf("%s: %s, %v", c.name, body, err)
					return
				}
				comment.Text = patch[1].Value
			} else if err := json.Unmarshal(body, &comment); err != nil {
				t.Errorf("%s: %s, %v", c.name, body, err)
			}
			sent = append(sent, r.Header.Get("Content-Type")+" "+r.URL.Path+" "+comment.Text)
		}))
		command := exec.Command("bash", "-c", text)
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "TOKEN=a-token", "COLLECTION=" + s.URL + "/org/", "PROJECT=p", "RUN=4711", "REPORT=" + result}
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, output)
		}
		s.Close()
		if got := strings.Join(sent, "\n"); got != c.want {
			t.Errorf("%s: sent\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
