package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// What a job's token may write into plans by REST is not documented. It has been
// seen to write attachments under the record of its own job.

// Reach is how far a job's token may write.
type Reach int

const (
	OwnJob     Reach = iota // attachments under the record of its own job
	OwnRun                  // every record of its own run
	OwnProject              // every run of its project
)

// SetReach sets how far the tokens of jobs reach; OwnJob unless set.
func (o *Organization) SetReach(reach Reach) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reach = reach
}

// AddPersonalToken lets a person with this personal access token read every project.
func (o *Organization) AddPersonalToken(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.personal[token] = true
}

// person returns what a personal access token may do, nil if it is none.
func (o *Organization) person(r *http.Request) *jobToken {
	_, password, _ := r.BasicAuth()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.personal[password] {
		return nil
	}
	return &jobToken{personal: true}
}

// AttachContent stores an attachment that can be read.
func (p *Step) AttachContent(kind, name string, content []byte) {
	p.lock()
	defer p.unlock()
	p.attach(attachment{kind, name, content})
}

// attach replaces an attachment of the same type and name.
func (p *Step) attach(added attachment) {
	for i, a := range p.attachments {
		if a.kind == added.kind && a.name == added.name {
			p.attachments[i] = added
			return
		}
	}
	p.attachments = append(p.attachments, added)
}

// stepOf finds a step of the run by the id of its record, or by that of its job,
// whose newest step it then is. Callers hold mu.
func (r *Run) stepOf(record string) (step *Step, isJob bool) {
	for _, s := range r.stages {
		for _, a := range s.attempts {
			for _, step := range a.steps {
				if strings.EqualFold(step.id, record) {
					return step, false
				}
			}
			if len(a.steps) > 0 && strings.EqualFold(s.jobID(a, s.phases[0], s.phases[0].jobs[0]), record) {
				return a.steps[len(a.steps)-1], true
			}
		}
	}
	return nil, false
}

// writable returns the step that a record belongs to, if the token may write there.
// Callers hold mu.
func (t *jobToken) writable(plan, record string, patch bool) (step *Step, allowed bool) {
	reach := t.project.org.reach
	for _, r := range t.project.runs {
		if !strings.EqualFold(r.planID, plan) {
			continue
		}
		step, isJob := r.stepOf(record)
		if step == nil {
			return nil, r == t.run
		}
		switch {
		case r != t.run:
			return step, reach >= OwnProject
		case isJob && strings.EqualFold(record, t.jobID) && !patch:
			return step, true
		}
		return step, reach >= OwnRun
	}
	return nil, false
}

func (t *jobToken) refuse(w http.ResponseWriter) {
	restRefusal{http.StatusForbidden, "TF400813: The user '" + t.project.buildService() + "' is not authorized to access this resource.",
		"Microsoft.TeamFoundation.Framework.Server.UnauthorizedRequestException", 3000}.write(w)
}

func noRecord(w http.ResponseWriter) {
	restRefusal{http.StatusNotFound, "No timeline record was found.",
		"Microsoft.TeamFoundation.DistributedTask.WebApi.TimelineRecordNotFoundException", 3000}.write(w)
}

// servePlan is what may be written into a plan: path is
// plans/PLAN/timelines/TIMELINE/records and what follows.
func (t *jobToken) servePlan(w http.ResponseWriter, r *http.Request, path []string) {
	if t.personal {
		restRefusal{http.StatusForbidden, "TF400813: The user is not authorized to access this resource.",
			"Microsoft.TeamFoundation.Framework.Server.UnauthorizedRequestException", 3000}.write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o := t.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(path) == 9 && path[6] == "attachments" && r.Method == http.MethodPut {
		step, allowed := t.writable(path[1], path[5], false)
		switch {
		case !allowed:
			t.refuse(w)
		case step == nil:
			noRecord(w)
		default:
			step.attach(attachment{path[7], path[8], body})
			writeJSON(w, http.StatusCreated, map[string]any{"type": path[7], "name": path[8], "recordId": path[5], "timelineId": path[3]})
		}
		return
	}
	if len(path) != 5 || r.Method != http.MethodPatch {
		noSuchController(w, strings.Join(path, "/"))
		return
	}
	var changes struct {
		Value []struct{ ID, Name, Result string }
	}
	if err := json.Unmarshal(body, &changes); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	value := []any{}
	for _, c := range changes.Value {
		step, allowed := t.writable(path[1], c.ID, true)
		switch {
		case !allowed:
			t.refuse(w)
			return
		case step == nil:
			noRecord(w)
			return
		}
		or(&c.Name, step.label)
		step.label = c.Name
		if c.Result != "" {
			step.result, step.ended = c.Result, o.now()
		}
		value = append(value, map[string]any{"id": step.id, "name": step.label, "result": step.result})
	}
	writeList(w, value)
}

// serveAttachment sends the content of an attachment.
func (p *Project) serveAttachment(w http.ResponseWriter, id, record, kind, name string) {
	if p.refuse(w, Builds) || p.refuse(w, Attachments) {
		return
	}
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	if r := p.run(id); r != nil {
		if step, _ := r.stepOf(record); step != nil {
			for _, a := range step.attachments {
				if strings.EqualFold(a.kind, kind) && a.name == name {
					w.Header().Set("Content-Type", "application/octet-stream")
					w.Write(a.content)
					return
				}
			}
		}
	}
	noRecord(w)
}

// planPath is the part of a path from "plans" on, in its own case, if it is about
// the records of a plan.
func planPath(rest string) (path []string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(rest, "/_apis/"), "/")
	if len(parts) < 8 || !strings.EqualFold(parts[0], "distributedtask") || !strings.EqualFold(parts[1], "hubs") || !strings.EqualFold(parts[7], "records") {
		return nil, false
	}
	path = parts[3:]
	for i := range path {
		if decoded, err := url.PathUnescape(path[i]); err == nil {
			path[i] = decoded
		}
	}
	return path, true
}
