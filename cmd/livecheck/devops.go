package main

import (
	"acrpromote/internal/collection"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// devOps is a project of Azure DevOps.
type devOps struct {
	http          *http.Client
	at            *collection.Collection
	collection    string // URL
	project       string
	authorization string
}

// address returns the URL of something in the project.
func (d *devOps) address(collection, path string) string {
	return strings.TrimSuffix(collection, "/") + "/" + url.PathEscape(d.project) + "/_apis/" + path
}

func (d *devOps) send(ctx context.Context, method, path, mediaType string, body []byte) (response, error) {
	return d.sendTo(ctx, method, d.address(d.collection, path), mediaType, body)
}

func (d *devOps) sendTo(ctx context.Context, method, address, mediaType string, body []byte) (response, error) {
	return send(ctx, d.http, method, address, map[string]string{
		"Authorization": d.authorization, "Accept": "application/json", "Content-Type": mediaType, "X-TFS-FedAuthRedirect": "Suppress",
	}, body)
}

// read gets a document.
func (d *devOps) read(ctx context.Context, path string, into any) error {
	return d.readFrom(ctx, d.address(d.collection, path), into)
}

func (d *devOps) readFrom(ctx context.Context, address string, into any) error {
	got, err := d.sendTo(ctx, http.MethodGet, address, "", nil)
	if err != nil {
		return err
	}
	// A sign-in page comes with 203 and a redirect to it with 302.
	if got.status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", address, got.status, firstLine(got.body))
	}
	if err := json.Unmarshal(got.body, into); err != nil {
		return fmt.Errorf("GET %s: %w", address, err)
	}
	return nil
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return line
}

// releases returns the URL of the collection that serves releases.
func (d *devOps) releases() string {
	at, err := url.Parse(d.collection)
	if err != nil {
		return d.collection
	}
	switch host := strings.ToLower(at.Host); {
	case host == "dev.azure.com":
		at.Host = "vsrm.dev.azure.com"
	case strings.HasSuffix(host, ".visualstudio.com") && !strings.HasSuffix(host, ".vsrm.visualstudio.com"):
		at.Host = strings.TrimSuffix(host, ".visualstudio.com") + ".vsrm.visualstudio.com"
	}
	return at.String()
}

type record struct {
	ID       string
	ParentID string
	Type     string
	Name     string
	State    string
	Result   string
}

type timeline struct{ Records []record }

// children returns the ids of the records of a type under a parent.
func (t timeline) children(parent, kind string) []string {
	var ids []string
	for _, r := range t.Records {
		if strings.EqualFold(r.ParentID, parent) && r.Type == kind {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (t timeline) find(kind, name string) (record, bool) {
	for _, r := range t.Records {
		if r.Type == kind && strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return record{}, false
}

func (t timeline) byID(id string) (record, bool) {
	for _, r := range t.Records {
		if strings.EqualFold(r.ID, id) {
			return r, true
		}
	}
	return record{}, false
}

type build struct {
	ID   int
	Plan struct {
		PlanID string
	} `json:"orchestrationPlan"`
	Project struct{ Name string }
}

type approval struct {
	ID       string
	Status   string
	Pipeline struct {
		Owner struct{ ID json.RawMessage } // a number, as published
	}
	DeferredTo string
	Steps      []struct {
		Status         string
		LastModifiedOn string
		DeferredTo     string
		ActualApprover *struct{ ID string }
	}
}

type suite struct {
	Status    string
	Context   map[string]any
	CheckRuns []checkRun
}

type checkRun struct {
	ID, Status string
	Ref        struct {
		Resource struct{ Type, ID, Name string }
	} `json:"checkConfigurationRef"`
}

// stageEvidence is what a run holds about the checks of one stage.
type stageEvidence struct {
	record    record
	approvals []approval
	suite     suite
}

// runEvidence is what a run holds.
type runEvidence struct {
	build    build
	timeline timeline
	stages   map[string]*stageEvidence
	problems map[string]error // of a stage
	// attachments have the links of what the job attached, by type.
	attachments map[string][]attachment
	reports     [][]byte // the answers of the run's jobs
}

type attachment struct {
	Name  string
	Links struct {
		Self struct{ Href string }
	} `json:"_links"`
}

// Types of attachments.
const (
	reportAttachment  = "acrpromote.livecheck"
	summaryAttachment = "Distributedtask.Core.Summary"
)

// The stages of the printed pipeline.
const (
	approvedStage = "Approved"
	bypassedStage = "Bypassed"
	deferredStage = "Deferred"
)

func (d *devOps) readTimeline(ctx context.Context, run int) (timeline, error) {
	var t timeline
	err := d.read(ctx, fmt.Sprintf("build/builds/%d/timeline?api-version=7.1", run), &t)
	return t, err
}

func (d *devOps) readBuild(ctx context.Context, run int) (build, error) {
	var b build
	err := d.read(ctx, fmt.Sprintf("build/builds/%d?api-version=7.1", run), &b)
	return b, err
}

// readRun reads all that the facts are about.
func (d *devOps) readRun(ctx context.Context, id int) (*runEvidence, error) {
	r := &runEvidence{stages: map[string]*stageEvidence{}, problems: map[string]error{}, attachments: map[string][]attachment{}}
	var err error
	if r.build, err = d.readBuild(ctx, id); err != nil {
		return nil, err
	}
	if r.timeline, err = d.readTimeline(ctx, id); err != nil {
		return nil, err
	}
	for _, stage := range []string{approvedStage, bypassedStage, deferredStage} {
		if r.stages[stage], err = d.readStage(ctx, r.timeline, stage); err != nil {
			r.problems[stage] = err
		}
	}
	for _, kind := range []string{reportAttachment, summaryAttachment} {
		var list struct{ Value []attachment }
		if err := d.read(ctx, fmt.Sprintf("build/builds/%d/attachments/%s?api-version=7.1-preview.2", id, kind), &list); err != nil {
			return nil, err
		}
		r.attachments[kind] = list.Value
	}
	for _, a := range r.attachments[reportAttachment] {
		if !strings.HasPrefix(a.Name, reportName) {
			continue
		}
		if !d.at.Contains(a.Links.Self.Href) {
			return nil, fmt.Errorf("the attachment %s is not in the collection", a.Name)
		}
		got, err := d.sendTo(ctx, http.MethodGet, a.Links.Self.Href, "", nil)
		if err != nil {
			return nil, err
		}
		if err := got.want("reading the attachment " + a.Name); err != nil {
			return nil, err
		}
		r.reports = append(r.reports, got.body)
	}
	return r, nil
}

func (d *devOps) readStage(ctx context.Context, t timeline, name string) (*stageEvidence, error) {
	stage, ok := t.find("Stage", name)
	if !ok {
		return nil, fmt.Errorf("the run has no stage %s", name)
	}
	e := &stageEvidence{record: stage}
	checkpoints := t.children(stage.ID, "Checkpoint")
	if len(checkpoints) != 1 {
		return nil, fmt.Errorf("stage %s has %d checkpoints", name, len(checkpoints))
	}
	if ids := t.children(checkpoints[0], "Checkpoint.Approval"); len(ids) > 0 {
		var list struct{ Value []approval }
		if err := d.read(ctx, approvalsPath(ids), &list); err != nil {
			return nil, err
		}
		e.approvals = list.Value
	}
	return e, d.read(ctx, suitePath(checkpoints[0]), &e.suite)
}

func approvalsPath(ids []string) string {
	return "pipelines/approvals?approvalIds=" + strings.Join(ids, ",") + "&$expand=steps&api-version=7.2-preview.2"
}

func suitePath(checkpoint string) string {
	return "pipelines/checks/runs/" + checkpoint + "?$expand=resources&api-version=7.1-preview.1"
}

// releaseEvidence is a classic release.
type releaseEvidence struct {
	Environments []struct {
		Name        string
		DeploySteps []struct {
			Attempt            int
			PreDeploymentGates struct{ Status string }
		}
	}
}

func (d *devOps) readRelease(ctx context.Context, id int) (*releaseEvidence, error) {
	r := &releaseEvidence{}
	return r, d.readFrom(ctx, d.address(d.releases(), fmt.Sprintf("release/releases/%d?api-version=7.1", id)), r)
}
