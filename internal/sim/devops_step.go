package sim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// TaskID is the id of the task AcrPromote, which its manifest gives it.
const TaskID = "56008342-22ae-4f13-a595-0d62e2fb4092"

// taskReference names the task of a record: the id of AcrPromote is the
// published one, of any other task one of its own.
func taskReference(name string) map[string]any {
	id := guidOf("task/" + name)
	if name == "AcrPromote" {
		id = TaskID
	}
	return map[string]any{"id": id, "name": name, "version": "1.0.0"}
}

// Step is one step of the job that the task runs in. A job for which none was
// begun has one step, of the task AcrPromote, that lasts as long as the job.
type Step struct {
	stage       *Stage
	attempt     *attempt
	id          string
	task        string
	label       string // the record's name, where it was changed
	result      string
	begun       time.Time
	ended       time.Time
	attachments []attachment
}

type attachment struct {
	kind, name string
	content    []byte
}

// Step begins a step of a task in the newest attempt's job.
func (s *Stage) Step(task string) *Step {
	s.lock()
	defer s.unlock()
	return s.step(task)
}

func (s *Stage) step(task string) *Step {
	a := s.newest()
	step := &Step{stage: s, attempt: a, task: task, begun: s.run.project.org.now(),
		id: recordID(s.run.planID, s.jobID(a, s.phases[0], s.phases[0].jobs[0]), fmt.Sprintf("step %d", len(a.steps)))}
	a.steps = append(a.steps, step)
	return step
}

// StepOf begins a step in the job that has this token. In a classic release
// there is none: its record tells of the job's tasks by itself.
func (o *Organization) StepOf(token, task string) (*Step, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	job := o.tokens[token]
	if job == nil {
		return nil, errors.New("no job has this token")
	}
	if job.run == nil {
		return nil, nil
	}
	for _, s := range job.run.stages {
		if s.newest().token == job {
			return s.step(task), nil
		}
	}
	return nil, errors.New("the job of this token is over")
}

func (p *Step) lock()   { p.stage.lock() }
func (p *Step) unlock() { p.stage.unlock() }

// ID is the id of the step's record.
func (p *Step) ID() string { return p.id }

// Attach stores an attachment under the step's record, as the logging command
// task.addattachment does. A second one of the same type and name replaces the
// first.
func (p *Step) Attach(kind, name string) {
	p.lock()
	defer p.unlock()
	p.attach(attachment{kind: kind, name: name})
}

// End ends the step with a result: succeeded, succeededWithIssues, failed,
// canceled, skipped.
func (p *Step) End(result string) {
	p.lock()
	defer p.unlock()
	p.result, p.ended = result, p.stage.run.project.org.now()
}

// SetTimes moves the step to other times.
func (p *Step) SetTimes(begun, ended time.Time) {
	p.lock()
	defer p.unlock()
	p.begun, p.ended = begun, ended
}

func (p *Step) state() string {
	if p.result == "" {
		return "inProgress"
	}
	return "completed"
}

// attachments lists those of a type, of all attempts. The link of each holds
// the timeline and the record that it is stored under.
func (r *Run) attachments(kind string) map[string]any {
	value := []any{}
	for _, s := range r.stages {
		for i, a := range s.attempts {
			timeline := r.planID
			if i < len(s.attempts)-1 {
				timeline = s.recordID(a)
			}
			for _, step := range a.steps {
				for _, found := range step.attachments {
					if !strings.EqualFold(found.kind, kind) {
						continue
					}
					href := fmt.Sprintf("%s/_apis/build/builds/%d/%s/%s/attachments/%s/%s", r.project.url(), r.id, timeline, step.id, found.kind, found.name)
					value = append(value, map[string]any{"_links": map[string]any{"self": map[string]any{"href": href}}, "name": found.name})
				}
			}
		}
	}
	return map[string]any{"count": len(value), "value": value}
}

func (p *Project) serveAttachments(w http.ResponseWriter, id, kind string) {
	if p.refuse(w, Builds) || p.refuse(w, Attachments) {
		return
	}
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		if r := p.run(id); r != nil {
			return r.attachments(kind), r.hooks[Attachments]
		}
		return nil, nil
	})
	if doc == nil {
		noBuild(w, id)
		return
	}
	p.org.verify("[]Attachment", doc)
	send(w, doc, hooks)
}
