package seal

import (
	"strings"
	"testing"
)

var (
	ours   = "sha256:" + strings.Repeat("a", 64)
	theirs = "sha256:" + strings.Repeat("b", 64)
)

func TestRecordLayer(t *testing.T) {
	for _, c := range []struct {
		name     string
		artifact Artifact
		layer    int
		why      string // "" is a record
	}{
		{"a record", Artifact{ArtifactType, ours, []string{ArtifactType}}, 0, ""},
		{"with another layer", Artifact{ArtifactType, ours, []string{"text/plain", ArtifactType}}, 1, ""},
		{"another type", Artifact{"application/spdx+json", ours, []string{ArtifactType}}, 0, "artifact type"},
		{"no type", Artifact{"", ours, []string{ArtifactType}}, 0, "artifact type"},
		{"a type in upper case", Artifact{strings.ToUpper(ArtifactType), ours, []string{ArtifactType}}, 0, "artifact type"},
		{"another image", Artifact{ArtifactType, theirs, []string{ArtifactType}}, 0, "refers to " + theirs},
		{"no image", Artifact{ArtifactType, "", []string{ArtifactType}}, 0, "no subject"},
		{"no layer", Artifact{ArtifactType, ours, nil}, 0, "no record layer"},
		{"only another layer", Artifact{ArtifactType, ours, []string{"application/json"}}, 0, "no record layer"},
		{"two records", Artifact{ArtifactType, ours, []string{ArtifactType, ArtifactType}}, 0, "several"},
	} {
		layer, err := c.artifact.RecordLayer(ours)
		switch {
		case c.why == "" && (err != nil || layer != c.layer):
			t.Errorf("%s: layer %d, %v; want %d", c.name, layer, err, c.layer)
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, content, why string }{
		{"the shortest", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `"}`, ""},
		{"space around it", " \n{\"schema\":\"acrpromote/seal/v1\",\"digest\":\"" + ours + "\"}\n", ""},
		{"a field of a later version", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","later":{"a":[1,{"b":2}]}}`, ""},
		{"the same name at two depths", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","later":{"digest":"x"}}`, ""},
		{"another image", `{"schema":"acrpromote/seal/v1","digest":"` + theirs + `"}`, "for the image"},
		{"no image", `{"schema":"acrpromote/seal/v1"}`, "for the image"},
		{"two digests", `{"schema":"acrpromote/seal/v1","digest":"` + theirs + `","digest":"` + ours + `"}`, "twice"},
		{"two digests in other case", `{"schema":"acrpromote/seal/v1","digest":"` + theirs + `","Digest":"` + ours + `"}`, "twice"},
		{"two digests, one escaped", `{"schema":"acrpromote/seal/v1","digest":"` + theirs + `","dig\u0065st":"` + ours + `"}`, "twice"},
		{"two digests, one in letters that fold", `{"schema":"acrpromote/seal/v1","digest":"` + theirs + `","dige\u017ft":"` + ours + `"}`, "twice"},
		{"two runs", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":1},"run":{"id":2}}`, "twice"},
		{"two run ids", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":1,"id":2}}`, "twice"},
		{"another schema", `{"schema":"acrpromote/seal/v2","digest":"` + ours + `"}`, "schema"},
		{"no schema", `{"digest":"` + ours + `"}`, "schema"},
		{"a run id as text", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":"1"}}`, "schema"},
		{"a negative run id", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":-1}}`, "invalid"},
		{"a fraction of a run id", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":1.5}}`, "schema"},
		{"a huge run id", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `","run":{"id":1e400}}`, "one valid"},
		{"a second object", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `"}{}`, "one valid"},
		{"cut off", `{"schema":"acrpromote/seal/v1","digest":"` + ours + `"`, "one valid"},
		{"a list", `[{"schema":"acrpromote/seal/v1","digest":"` + ours + `"}]`, "one valid"},
		{"null", `null`, "one valid"},
		{"nothing", ``, "one valid"},
		{"too deep", `{"a":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, "one valid"},
		{"not JSON", `schema: acrpromote/seal/v1`, "one valid"},
	} {
		record, err := Parse([]byte(c.content), ours)
		switch {
		case c.why == "" && (err != nil || record.Digest != ours):
			t.Errorf("%s: %+v, %v", c.name, record, err)
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
	written, err := Record{Image: "r.example/a:1", Digest: ours, Run: Run{Kind: "yaml", Project: "shop", ID: 4711}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if record, err := Parse(written, ours); err != nil || record.Run.ID != 4711 {
		t.Errorf("what was written is read as %+v, %v", record, err)
	}
}
