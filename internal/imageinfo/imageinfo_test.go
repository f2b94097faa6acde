package imageinfo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, document string) *Config {
	t.Helper()
	c, err := ParseConfig([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseConfig(t *testing.T) {
	c := parse(t, `{"architecture":"arm","os":"linux","variant":"v7","created":"2026-03-01T10:00:00.5+01:00","config":{
		"User":"app","WorkingDir":"/srv","Entrypoint":["/cart","--port","80"],"Cmd":[],"StopSignal":"SIGINT",
		"Env":["PATH=/bin","TOKEN=secret-value","EMPTY"],"ExposedPorts":{"80/tcp":{},"443/tcp":{}},"Volumes":{"/data":{}},
		"Labels":{"org.opencontainers.image.version":"1.2","maintainer":"x"}},"history":[{}]}`)
	if c.Platform != "linux/arm/v7" || c.User != "app" || c.WorkingDir != "/srv" || c.Entrypoint != `["/cart","--port","80"]` || c.Cmd != "" || c.StopSignal != "SIGINT" ||
		!slices.Equal(c.Ports, []string{"443/tcp", "80/tcp"}) || !slices.Equal(c.Volumes, []string{"/data"}) || len(c.Labels) != 1 ||
		c.Created.Format(time.RFC3339) != "2026-03-01T09:00:00Z" {
		t.Errorf("%+v", c)
	}
	if strings.Contains(fmt.Sprintf("%#v", c), "secret-value") || len(c.Env) != 3 {
		t.Errorf("the environment is %+v", c.Env)
	}
	for _, document := range []string{"", "[]", `"x"`, `{"config":[]}`, `{"config":{"Env":[1]}}`, `{"os":"linux"`, `{}` + strings.Repeat(" ", MaxConfig)} {
		if _, err := ParseConfig([]byte(document)); err == nil {
			t.Errorf("%.20q was parsed", document)
		}
	}
	if c := parse(t, `{"config":null,"created":"yesterday"}`); c.Platform != "" || !c.Created.IsZero() {
		t.Errorf("%+v", c)
	}
}

func TestParseConfigCuts(t *testing.T) {
	long := strings.Repeat("é", 400_000/2)
	c := parse(t, fmt.Sprintf(`{"config":{"User":%q,"Env":[%q],"Labels":{"org.opencontainers.image.version":%q}}}`, long+"1", long, long[:1000]))
	other := parse(t, fmt.Sprintf(`{"config":{"User":%q}}`, long+"2"))
	if len(c.User) > maxValue+60 || c.User == other.User {
		t.Errorf("the user is %q", c.User)
	}
	claims := Image{Platforms: []Platform{{Config: c}}}.Claims()
	if len(claims.Version) > maxValue+60 {
		t.Errorf("the version is %q", claims.Version)
	}
	var many []string
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("V%d=", i))
	}
	raw, _ := json.Marshal(map[string]any{"config": map[string]any{"Env": many}})
	if c := parse(t, string(raw)); len(c.Env) != maxEntries {
		t.Errorf("%d variables", len(c.Env))
	}
}

func TestClaims(t *testing.T) {
	config := func(labels ...string) *Config {
		c := &Config{Labels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			c.Labels[labels[i]] = labels[i+1]
		}
		return c
	}
	i := Image{
		Annotations: map[string]string{revision: "from the index"},
		Platforms: []Platform{
			{Annotations: map[string]string{source: "from the manifest"}, Config: config(revision, "from a label", source, "from a label", version, "")},
			{Config: config(version, "from the second platform")},
		},
	}
	if got, want := i.Claims(), (Claims{Version: "from the second platform", Revision: "from the index", Source: "from the manifest"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (Image{Platforms: []Platform{{}}}).Claims(); got != (Claims{}) {
		t.Errorf("%+v, want nothing", got)
	}
}

func TestCompare(t *testing.T) {
	layers := func(digests ...string) []Layer {
		var list []Layer
		for _, d := range digests {
			list = append(list, Layer{d, int64(len(d))})
		}
		return list
	}
	before := Image{Platforms: []Platform{
		{Name: "linux/amd64", Layers: layers("a", "bb", "a"), Config: parse(t, `{"config":{"User":"app","Env":["A=1","B=1","C=1"],"ExposedPorts":{"80/tcp":{}}}}`)},
		{Name: "linux/arm64", Layers: layers("a", "ccc"), Config: parse(t, `{"config":{"User":"app"}}`)},
		{Name: "linux/386"},
	}}
	after := Image{Platforms: []Platform{
		{Name: "linux/amd64", Layers: layers("a", "dddd"), Config: parse(t, `{"config":{"Cmd":["x"],"Env":["A=2","C=1","D=1"],"ExposedPorts":{"8080/tcp":{}}}}`)},
		{Name: "linux/arm64", Layers: layers("a", "ccc"), Config: parse(t, `{"config":{}}`)},
		{Name: "linux/s390x", Layers: layers("eeeee")},
	}}
	d := Compare(before, after)
	if !slices.Equal(d.PlatformsAdded, []string{"linux/s390x"}) || !slices.Equal(d.PlatformsRemoved, []string{"linux/386"}) {
		t.Errorf("platforms %v, %v", d.PlatformsAdded, d.PlatformsRemoved)
	}
	if d.LayersShared != (Layers{2, 4}) || d.LayersNew != (Layers{2, 9}) || d.LayersGone != (Layers{1, 2}) {
		t.Errorf("layers %v, %v, %v", d.LayersShared, d.LayersNew, d.LayersGone)
	}
	var got []string
	for _, s := range d.Settings {
		got = append(got, fmt.Sprintf("%s %v %q→%q +%v -%v ~%v", s.Name, s.Platforms, s.Old, s.New, s.Added, s.Removed, s.Changed))
	}
	want := []string{
		`user [] "app"→"" +[] -[] ~[]`,
		`command [linux/amd64] ""→"[\"x\"]" +[] -[] ~[]`,
		`ports [linux/amd64] ""→"" +[8080/tcp] -[80/tcp] ~[]`,
		`environment [linux/amd64] ""→"" +[D] -[B] ~[A]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("settings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if raw, err := json.Marshal(d); err != nil || strings.Contains(string(raw), "null") {
		t.Errorf("%s, %v", raw, err)
	}
	same := Compare(after, after)
	if len(same.Settings)+len(same.PlatformsAdded)+len(same.PlatformsRemoved)+same.LayersNew.Count+same.LayersGone.Count != 0 {
		t.Errorf("an image differs from itself: %+v", same)
	}
}

func TestBaseline(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC) }
	list := func(names ...string) []Tag {
		var tags []Tag
		for i, n := range names {
			tags = append(tags, Tag{Name: n, Digest: "sha256:" + n, Updated: at(i + 1)})
		}
		return tags
	}
	for _, c := range []struct {
		tag  string
		tags []Tag
		want string
		how  Basis
	}{
		{"1.4.2", list("1.4.0", "1.4.1", "1.3.9"), "1.4.1", Version},
		{"1.4.2", list("1.5.0", "1.4.1", "2.0.0", "latest"), "1.4.1", Version},
		{"1.10.0", list("1.9.0", "1.2.0"), "1.9.0", Version},
		{"v1.4.2", list("v1.4.1", "v1.4.2"), "v1.4.1", Version},
		{"1.4.2", list("1.4.2-rc1", "1.4.1"), "1.4.1", Version},
		{"1.4.2", list("1.4.2-rc1", "latest"), "1.4.2-rc1", Version},
		{"1.4.2-alpine", list("1.4.1-alpine", "1.4.1", "1.4.0-alpine"), "1.4.1-alpine", Version},
		{"1.4.2-77", list("1.4.2-76", "1.4.1-90"), "1.4.2-76", Version},
		{"20260302", list("20260228", "20260301", "main"), "20260301", Version},
		{"1.0.0", list("1.1.0", "1.2.0"), "1.2.0", Newest},
		{"stable", list("main", "release-7", "sha256-"+strings.Repeat("a", 64)+".sig"), "release-7", Newest},
		{"stable", list("stable"), "", First},
		{"1.4.2", list("sha256-" + strings.Repeat("a", 64) + ".sig"), "", First},
		{"1.4.2", nil, "", First},
		{"stable", []Tag{{Name: "main"}, {Name: "old"}}, "", Unknown},
		{"1.4.2", []Tag{{Name: "main"}, {Name: "1.4.1"}}, "1.4.1", Version},
		{"", list("1.4.0", "1.4.1"), "1.4.1", Newest},
	} {
		got, how := Baseline(c.tag, "sha256:new", c.tags)
		if got.Name != c.want || how != c.how {
			t.Errorf("%s of %v is compared with %q by %s, want %q by %s", c.tag, c.tags, got.Name, how, c.want, c.how)
		}
		backwards := slices.Clone(c.tags)
		slices.Reverse(backwards)
		if other, _ := Baseline(c.tag, "sha256:new", backwards); other != got {
			t.Errorf("%s: the order of the tags counts: %v or %v", c.tag, got, other)
		}
	}
	// The same image under another tag is nothing to compare with.
	if got, how := Baseline("1.4.2", "sha256:1.4.1", list("1.4.0", "1.4.1")); got.Name != "1.4.0" || how != Version {
		t.Errorf("%v, %s", got, how)
	}
}
