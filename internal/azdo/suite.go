package azdo

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"acrpromote/internal/approval"
)

type resource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (r *resource) resource() approval.Resource {
	if r == nil {
		return approval.Resource{}
	}
	return approval.Resource(*r)
}

type checkType struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type suite struct {
	ID        string                     `json:"id"`
	Status    string                     `json:"status"`
	Context   map[string]json.RawMessage `json:"context"`
	CheckRuns []struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		// Ended is text: a date that cannot be read counts as absent.
		Ended string `json:"completedDate"`
		Ref   *struct {
			ID       int       `json:"id"`
			Version  int       `json:"version"`
			Type     checkType `json:"type"`
			Resource *resource `json:"resource"`
		} `json:"checkConfigurationRef"`
	} `json:"checkRuns"`
}

// readSuite reads the check suite of a stage; its id is the checkpoint's.
func (s *Service) readSuite(ctx context.Context, checkpoint string) (*approval.Suite, error) {
	return s.readSuiteOf(ctx, s.claims.ProjectID, checkpoint)
}

// readSuiteOf reads a check suite of a project.
func (s *Service) readSuiteOf(ctx context.Context, project, checkpoint string) (*approval.Suite, error) {
	var document suite
	query := url.Values{"$expand": {"resources"}}
	if err := s.get(ctx, areaChecks, locationSuite, "7.2-preview.1", map[string]string{"project": project, "checkSuiteId": checkpoint}, query, &document); err != nil {
		return nil, err
	}
	return document.suite(checkpoint)
}

func (d *suite) suite(checkpoint string) (*approval.Suite, error) {
	if !approval.SameGUID(d.ID, checkpoint) {
		return nil, &malformed{reason: "it is the check suite of another checkpoint"}
	}
	context, err := suiteContext(d.Context)
	if err != nil {
		return nil, err
	}
	out := &approval.Suite{ID: approval.GUID(d.ID), Status: d.Status, Context: context}
	for _, run := range d.CheckRuns {
		if run.Ref == nil {
			return nil, &malformed{reason: "a check does not say what was evaluated"}
		}
		out.Runs = append(out.Runs, approval.CheckRun{
			ID:              approval.GUID(run.ID),
			Status:          run.Status,
			Type:            approval.GUID(run.Ref.Type.ID),
			TypeName:        run.Ref.Type.Name,
			ConfigurationID: run.Ref.ID,
			Version:         run.Ref.Version,
			Completed:       completedAt(run.Ended),
			Resource:        run.Ref.Resource.resource(),
		})
	}
	return out, nil
}

// suiteContext reads what the suite was evaluated for. Real responses nest the
// keys ("GraphNode": {"Name": …}), the published example joins them
// ("GraphNode.Name"): both are accepted, and must agree if both are present.
func suiteContext(context map[string]json.RawMessage) (approval.Context, error) {
	var c approval.Context
	var buildID, attempt number
	for _, field := range []struct {
		path string
		into any
	}{
		{"PlanId", &c.PlanID},
		{"Project.Id", &c.ProjectID},
		{"Pipeline.Owner.Id", &buildID},
		{"GraphNode.Name", &c.Stage},
		{"GraphNode.Attempt", &attempt},
	} {
		values := lookUp(context, field.path)
		for _, raw := range values {
			if string(raw) != string(values[0]) {
				return approval.Context{}, &malformed{reason: "its context has different values for " + field.path}
			}
		}
		if len(values) == 0 {
			continue
		}
		if err := json.Unmarshal(values[0], field.into); err != nil {
			return approval.Context{}, &malformed{reason: "its context has an invalid value for " + field.path}
		}
	}
	c.BuildID, c.Attempt = buildID.Value, attempt.Value
	return c, nil
}

// lookUp returns every value of a dotted path, nested and joined, in any case.
func lookUp(object map[string]json.RawMessage, path string) []json.RawMessage {
	var values []json.RawMessage
	for name, raw := range object {
		if strings.EqualFold(name, path) {
			values = append(values, raw)
			continue
		}
		if len(path) <= len(name) || path[len(name)] != '.' || !strings.EqualFold(path[:len(name)], name) {
			continue
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(raw, &inner) == nil {
			values = append(values, lookUp(inner, path[len(name)+1:])...)
		}
	}
	return values
}

// completedAt reads the date of an evaluation; zero if there is none.
func completedAt(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 2000 {
		return time.Time{}
	}
	return t
}
