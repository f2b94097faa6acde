package azdo_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
)

// handlerTransport passes requests to a handler without a network.
type handlerTransport struct{ handler http.Handler }

func (m handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// member returns a member of an object, ignoring case, or nil if there is none.
func member(v any, path ...string) any {
	for _, name := range path {
		o, _ := v.(map[string]any)
		v = nil
		for key, value := range o {
			if strings.EqualFold(key, name) {
				v = value
			}
		}
	}
	return v
}

func each(v any, test func(any) bool) bool {
	items, _ := v.([]any)
	for _, item := range items {
		if test(item) {
			return true
		}
	}
	return false
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return strings.ToLower(v)
	case json.Number:
		return v.String()
	}
	return ""
}

// required reports for each document, independently of the package, whether it
// has what a grant requires.
var required = map[string]func(d any) bool{
	"build": func(d any) bool {
		return text(member(d, "status")) == "inprogress" && text(member(d, "orchestrationPlan", "planId")) == planID && text(member(d, "id")) == "4711" && text(member(d, "project", "id")) == projectID
	},
	"timeline": func(d any) bool {
		has := func(id, parent, kind string) bool {
			return each(member(d, "records"), func(r any) bool {
				return text(member(r, "id")) == id && text(member(r, "parentId")) == parent && text(member(r, "type")) == kind
			})
		}
		return has(approvalID, checkpointID, "checkpoint.approval") && has(checkpointID, stageID, "checkpoint") && has(jobID, phaseID, "job") && has(phaseID, stageID, "phase")
	},
	"approvals": func(d any) bool {
		return each(member(d, "value"), func(a any) bool {
			return text(member(a, "id")) == approvalID && member(a, "status") == "approved" && each(member(a, "steps"), func(s any) bool {
				by := text(member(s, "actualApprover", "id"))
				return member(s, "status") == "approved" && len(by) == 36 && by != aliceID && !strings.HasPrefix(by, "00000000-0000-0000-0000-0000")
			})
		})
	},
	"suite": func(d any) bool {
		return member(d, "status") == "approved" && text(member(d, "id")) == checkpointID && each(member(d, "checkRuns"), func(r any) bool {
			return member(r, "status") == "approved" && text(member(r, "checkConfigurationRef", "type", "id")) == approvalCheck &&
				text(member(r, "checkConfigurationRef", "resource", "name")) == "production"
		})
	},
	"checks": func(d any) bool {
		return each(member(d, "value"), func(c any) bool {
			return text(member(c, "id")) == "31" && member(c, "isDisabled") != true
		})
	},
	"token": func(d any) bool {
		parts := strings.Split(member(d, "oidcToken").(string), ".")
		payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
		return err == nil && text(member(parse(payload), "run_id")) == "4711"
	},
	"release": func(d any) bool {
		return each(member(d, "environments"), func(e any) bool {
			return text(member(e, "id")) == "302" && each(member(e, "preDeployApprovals"), func(a any) bool {
				by := text(member(a, "approvedBy", "id"))
				return member(a, "status") == "approved" && member(a, "isAutomated") != true && text(member(a, "attempt")) == "2" && len(by) == 36 && by != aliceID && by != carolID
			})
		})
	},
}

func parse(raw []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return nil
	}
	return v
}

// documents returns the documents of the server that a test can replace.
func (d *devops) documents() map[string]*any {
	return map[string]*any{"build": &d.build, "timeline": &d.timeline, "approvals": &d.approvals, "suite": &d.suite, "checks": &d.checks, "token": &d.token, "release": &d.release}
}

func fuzz(f *testing.F, name string) {
	d, releaseClaims := newRelease(f)
	claims := d.claims()
	if name == "release" {
		claims = releaseClaims
	}
	target := d.documents()[name]
	good, err := json.Marshal(*target)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.ReplaceAll(good, []byte("approved"), []byte("pending")))
	f.Add(bytes.ReplaceAll(good, []byte(bobID), []byte(aliceID)))
	f.Add(bytes.ReplaceAll(good, []byte(bobID), []byte("00000000-0000-0000-0000-000000000000")))
	f.Add(bytes.ReplaceAll(good, []byte(`"id"`), []byte(`"ID"`)))
	f.Add(bytes.ReplaceAll(good, []byte(`:"`), []byte(`:null,"x":"`)))
	f.Add([]byte("null"))
	f.Add([]byte("{}"))
	f.Add([]byte(`{"value":null}`))
	f.Add([]byte("<!DOCTYPE html>"))
	client := &http.Client{Transport: handlerTransport{d}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		*target = string(raw)
		s, err := azdo.New(client, claims, jobToken)
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Evidence(context.Background(), azdo.Query{Environment: "Production"})
		if err != nil {
			return
		}
		v := approval.Judge(e, approval.Rules{Environment: "Production", AuthorCanApprove: true}, day.Add(12*hour))
		if !v.Granted {
			if len(v.Refusals) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		if document := parse(raw); !json.Valid(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))) || !required[name](document) {
			t.Fatalf("granted with %q", raw)
		}
	})
}

func FuzzBuild(f *testing.F)          { fuzz(f, "build") }
func FuzzTimeline(f *testing.F)       { fuzz(f, "timeline") }
func FuzzApprovals(f *testing.F)      { fuzz(f, "approvals") }
func FuzzSuite(f *testing.F)          { fuzz(f, "suite") }
func FuzzConfigurations(f *testing.F) { fuzz(f, "checks") }
func FuzzToken(f *testing.F)          { fuzz(f, "token") }
func FuzzRelease(f *testing.F)        { fuzz(f, "release") }
