package azdo_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/approval"
)

// TestPlans checks that what is published under a code is read, whatever its content
// type, and that nothing of it can fail or take much.
func TestPlans(t *testing.T) {
	const code, other = "AAAA-AAAA-AAAA-AAAA-AAAA-AAA1", "AAAA-AAAA-AAAA-AAAA-AAAA-AAA2"
	listed := func(s *sealing, build int, timeline, record, name string) object {
		a := s.attachment(build, timeline, record, name)
		set(a, strings.Replace(in(a, "_links", "self", "href").(string), "acrpromote.seal", approval.PlanAttachment, 1), "_links", "self", "href")
		return a
	}
	one := func(s *sealing) list { return list{listed(s, 4711, planID, sealStepID, code)} }
	text := func(contentType, content string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, content)
		}
	}
	for name, c := range map[string]struct {
		list    func(s *sealing) list
		content func(w http.ResponseWriter)
		want    []string
	}{
		"bytes":            {one, text("application/octet-stream", "the plan"), []string{"the plan"}},
		"text":             {one, text("text/plain; charset=utf-8", "the plan"), []string{"the plan"}},
		"no type":          {one, text("", "the plan"), []string{"the plan"}},
		"nothing":          {one, text("application/octet-stream", ""), []string{""}},
		"of 4 MiB":         {one, text("application/octet-stream", strings.Repeat("x", 4<<20)), []string{strings.Repeat("x", 4<<20)}},
		"longer":           {one, text("application/octet-stream", strings.Repeat("x", 4<<20+1)), nil},
		"denied":           {one, func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, nil},
		"a redirect":       {one, func(w http.ResponseWriter) { w.Header().Set("Location", "https://evil.example/"); w.WriteHeader(302) }, nil},
		"none":             {func(*sealing) list { return list{} }, nil, nil},
		"another code":     {func(s *sealing) list { return list{listed(s, 4711, planID, sealStepID, other)} }, nil, nil},
		"another run":      {func(s *sealing) list { return list{listed(s, 4712, planID, sealStepID, code)} }, nil, nil},
		"no record":        {func(s *sealing) list { return list{listed(s, 4711, planID, "..", code)} }, nil, nil},
		"no timeline":      {func(s *sealing) list { return list{listed(s, 4711, "..", sealStepID, code)} }, nil, nil},
		"another type":     {func(s *sealing) list { return list{s.attachment(4711, planID, sealStepID, code)} }, nil, nil},
		"of an old stage":  {func(s *sealing) list { return list{listed(s, 4711, stageID, sealStepID, code)} }, text("text/plain", "the plan"), []string{"the plan"}},
		"several":          {func(s *sealing) list { return append(one(s), one(s)...) }, text("text/plain", "the plan"), []string{"the plan", "the plan"}},
		"a hundred of one": {func(s *sealing) list { return slices.Repeat(one(s), 100) }, text("text/plain", "x"), []string{"x", "x", "x", "x"}},
	} {
		s := newSealing(t)
		all := c.list(s)
		next := s.devops.answer
		s.devops.answer = func(w http.ResponseWriter, r *http.Request, what string) bool {
			switch {
			case what == "GET /_apis/build/builds/4711/attachments/"+approval.PlanAttachment:
				reply(w, object{"count": len(all), "value": all})
			case strings.HasSuffix(what, "/attachments/"+approval.PlanAttachment+"/"+code) && c.content != nil:
				c.content(w)
			default:
				return next(w, r, what)
			}
			return true
		}
		var got []string
		s.service(t, s.claims()).Plans(context.Background(), []string{code}, func(of, content string) bool {
			got = append(got, content)
			return of != code
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %d contents, want %d: %.100q", name, len(got), len(c.want), got)
		}
	}
	// In a classic release there are none.
	s := newSealing(t)
	claims := s.claims()
	claims.HostType = "release"
	s.service(t, claims).Plans(context.Background(), []string{code}, func(string, string) bool { t.Error("a release has plans"); return true })
}
