package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table := newTable([]registryKind{{name: "A"}, {name: "B"}}, "x 1")
	s := scenario{by: "crane", name: "image"}
	table.add(0, s, judge{by: "oras", name: "pull"}, nil)
	table.add(1, s, judge{by: "oras", name: "pull"}, errors.New("other bytes"))
	table.add(1, s, judge{by: "helm", name: "pull"}, errors.New("other bytes"))
	page := table.markdown()
	for _, want := range []string{"x 1", "| pushed by | what | judged by | A → B | B → A |\n", "| crane | image | oras: pull | ✔ | ✘ |\n", "| crane | image | helm: pull |  | ✘ |\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing:\n%s", want, page)
		}
	}
	if len(table.failures) != 1 || !strings.Contains(table.failures[0], "B → A, image by crane, oras: pull: other bytes") {
		t.Errorf("failures %q", table.failures)
	}
}

func TestReplaceSection(t *testing.T) {
	for _, c := range []struct{ name, page, want string }{
		{"between others", "# A\n\n" + heading + "\n\nold\n\n## Z\n\nkept\n", "# A\n\nnew\n\n## Z\n\nkept\n"},
		{"the last", "# A\n\n" + heading + "\n\nold\n", "# A\n\nnew\n"},
		{"empty", "# A\n\n" + heading + "\n\n## Z\n", "# A\n\nnew\n\n## Z\n"},
		{"missing", "# A\n\n## Z\n", ""},
	} {
		got, err := replaceSection(c.page, "new\n")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestDigests(t *testing.T) {
	got, err := digests(`{"digest":"sha256:b","reference":"host/a@sha256:x","referrers":[{"digest":"sha256:c","referrers":[{"digest":"sha256:a"}]}]}`)
	if want := "sha256:a\nsha256:b\nsha256:c"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, err := digests("<html>"); err == nil {
		t.Error("a web page was read")
	}
}

// TestPromoteReports checks that every judge gets a verdict, whatever fails.
func TestPromoteReports(t *testing.T) {
	calls := 0
	judges := []judge{
		{"a", "same", func(*clients, image) (string, error) { return "same", nil }},
		{"b", "host", func(_ *clients, i image) (string, error) { calls++; return i.host, nil }},
		{"c", "nothing", func(*clients, image) (string, error) { return "", nil }},
	}
	program := "true"
	c := &clients{ctx: t.Context(), home: t.TempDir(), programs: map[string]*string{"acrpromote": &program}}
	verdicts := func(push error) map[string]bool {
		right := map[string]bool{}
		s := scenario{push: func(*clients, image) error { return push }, judges: judges}
		promote(c, s, "from", "to", func(j judge, err error) { right[j.by] = err == nil })
		return right
	}
	if got := verdicts(nil); len(got) != 3 || !got["a"] || got["b"] || got["c"] || calls != 2 {
		t.Errorf("%v after %d calls", got, calls)
	}
	if got := verdicts(errors.New("no")); len(got) != 3 || got["a"] || got["b"] || got["c"] || calls != 2 {
		t.Errorf("without a push: %v after %d calls", got, calls)
	}
}

func TestLeftOut(t *testing.T) {
	given, empty := "/bin/x", ""
	programs := map[string]*string{"crane": &given, "skopeo": &given, "umoci": &empty}
	judges := []judge{{by: "crane"}, {by: "skopeo, umoci"}}
	if s, ok := (scenario{by: "crane", judges: judges}).without(programs); !ok || len(s.judges) != 1 || s.judges[0].by != "crane" || len(judges) != 2 {
		t.Errorf("%v, %v", s, ok)
	}
	for _, s := range []scenario{{by: "umoci, skopeo", judges: judges}, {by: "crane", judges: judges[1:]}} {
		if _, ok := s.without(programs); ok {
			t.Errorf("%+v is not left out", s)
		}
	}
}

// TestScenariosNamePrograms checks that who pushes and who judges are programs.
func TestScenariosNamePrograms(t *testing.T) {
	for _, s := range scenarios {
		for _, by := range append([]judge{{by: s.by}}, s.judges...) {
			for _, name := range strings.Split(by.by, ", ") {
				if !slices.Contains(clientNames, name) {
					t.Errorf("%s, %s: %q is not a client", s.by, s.name, name)
				}
			}
		}
	}
}
