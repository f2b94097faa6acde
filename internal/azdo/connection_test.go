package azdo_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// TestConnectionNames checks that names are read for the asked connections alone,
// whatever the server lists, and that a failure leaves them unknown.
func TestConnectionNames(t *testing.T) {
	const one, two = "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33", "c4a7d3f1-7d5d-5f0a-8a77-3d1f2b6c5e55"
	for body, want := range map[string]map[string]string{
		`{"count":1,"value":[{"id":"` + strings.ToUpper(one) + `","name":"reader","authorization":{"parameters":{"x":"y"}}}]}`: {one: "reader"},
		`{"value":[null,{"id":"` + two + `","name":""},{"id":"` + projectID + `","name":"another"},{"id":"x","name":"y"}]}`:    {},
		`{"value":null}`:              {},
		`{"value":"no list"}`:         nil,
		`{"value":[{"id":7}]}`:        nil,
		`<html>`:                      nil,
		`{"value":[]}{"value":[]}`:    nil,
		`{"value":[],"VALUE":[null]}`: nil,
	} {
		d := newDevops(t)
		asked := ""
		d.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
			if !strings.Contains(r.URL.Path, "/serviceendpoint/") {
				return false
			}
			asked = r.URL.Query().Get("endpointIds")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
			return true
		}
		s := d.service(t, d.claims())
		if got := s.ConnectionNames(context.Background(), []string{one, two}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
		if asked != one+","+two {
			t.Errorf("asked for %q", asked)
		}
		if got := s.ConnectionNames(context.Background(), nil); got != nil {
			t.Errorf("without connections: %v", got)
		}
	}
}

// TestConnectionsElsewhere checks that nothing is asked at an address outside of the
// collection, and that the run is read all the same.
func TestConnectionsElsewhere(t *testing.T) {
	d := newDevops(t)
	areas := in(d.areas, "value").(list)
	areas[len(areas)-1].(object)["locationUrl"] = "https://elsewhere.example/"
	s := d.service(t, d.claims())
	if _, refusals := s.Run(context.Background()); len(refusals) > 0 {
		t.Errorf("refused: %v", refusals)
	}
	if got := s.ConnectionNames(context.Background(), []string{projectID}); got != nil {
		t.Errorf("%v", got)
	}
}

func TestJobName(t *testing.T) {
	for _, c := range []struct{ stage, identifier, want string }{
		{"Production", "Production.Push.__default", "Push"},
		{"Production", "production.Push.job_2", "Push.job_2"},
		{"__default", "Push.__default", "Push"},
		{"Production", "Push.__default", "Push"},
		{"Production", "Production.__default", ""},
		{"Production", "", ""},
		{"P", "P.", "P."},
	} {
		d := newDevops(t)
		recordOf(d, stageID)["identifier"] = c.stage
		recordOf(d, jobID)["identifier"] = c.identifier
		claims := d.claims()
		claims.StageName = c.stage
		run, refusals := d.service(t, claims).Run(context.Background())
		if run.Job != c.want || len(refusals) > 0 {
			t.Errorf("%s in %s: %q, want %q; %v", c.identifier, c.stage, run.Job, c.want, refusals)
		}
	}
}
