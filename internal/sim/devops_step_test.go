package sim

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/build"
)

// TestTaskID: the id is the one that the task is published with.
func TestTaskID(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "task", "task.json"))
	if err != nil {
		t.Fatal(err)
	}
	var task struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(data, &task); err != nil || task.ID != TaskID {
		t.Errorf("task.json has the id %q, %v; want %s", task.ID, err, TaskID)
	}
}

// TestAttachments: an attachment is listed with the record of the step that
// stored it, and another project does not see it unless it is admitted.
func TestAttachments(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	run := o.project.QueueRun(RunOptions{})
	stage := run.Stage("Seal")
	stage.Begin()
	d := o.mustClients(stage.Token())
	list := func(kind string) []build.Attachment {
		t.Helper()
		project, id := "Shop", run.ID()
		found, err := d.build.GetAttachments(context.Background(), build.GetAttachmentsArgs{Project: &project, BuildId: &id, Type: &kind})
		if err != nil {
			t.Fatal(err)
		}
		return *found
	}
	if found := list("acrpromote.seal"); len(found) != 0 {
		t.Fatalf("before: %v", found)
	}
	script := stage.Step("CmdLine")
	script.End("succeeded")
	step, err := o.org.StepOf(stage.Token(), "AcrPromote")
	if err != nil {
		t.Fatal(err)
	}
	step.Attach("acrpromote.seal", "aa")
	step.Attach("acrpromote.seal", "aa")
	step.Attach("another", "bb")
	found := list("acrpromote.seal")
	if len(found) != 1 || *found[0].Name != "aa" {
		t.Fatalf("found %v", found)
	}
	links, _ := json.Marshal(found[0].Links)
	if want := "/" + run.PlanID() + "/" + step.ID() + "/attachments/acrpromote.seal/aa"; !strings.Contains(string(links), want) {
		t.Errorf("the link is %s, want …%s", links, want)
	}
	records := map[string]build.TimelineRecord{}
	for _, r := range d.timeline(t, run, "") {
		records[r.Id.String()] = r
	}
	if r := records[step.ID()]; *r.Type != "Task" || r.Task.Id.String() != TaskID || *r.State != "inProgress" || r.ParentId.String() != stage.JobID() {
		t.Errorf("the step's record is %+v", r)
	}
	if r := records[script.ID()]; r.Task.Id.String() == TaskID || *r.Result != "succeeded" {
		t.Errorf("the script's record is %+v", r)
	}

	other := o.org.Project("Other")
	elsewhere := other.QueueRun(RunOptions{}).Stage("Look")
	elsewhere.Begin()
	d = o.mustClients(elsewhere.Token())
	project, id, kind := "Shop", run.ID(), "acrpromote.seal"
	if _, err := d.build.GetAttachments(context.Background(), build.GetAttachmentsArgs{Project: &project, BuildId: &id, Type: &kind}); err == nil {
		t.Error("another project sees the attachments")
	}
	o.project.Admit(other)
	if found := list("acrpromote.seal"); len(found) != 1 {
		t.Errorf("admitted: %v", found)
	}
	stage.Retry()
	if _, err := o.org.StepOf("no token", "AcrPromote"); err == nil {
		t.Error("a step without a job")
	}
}

// TestArtifacts checks the names that the artifacts of a run may have.
func TestArtifacts(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	run := o.project.QueueRun(RunOptions{})
	first, second := run.Stage("Seal").Step("AcrPromote"), run.Stage("Seal").Step("AcrPromote")
	for _, c := range []struct {
		step *Step
		name string
		ok   bool
	}{{first, "report", true}, {second, "Report", false}, {second, "report-2", true}, {second, "", false}, {second, "a/b", false}, {second, "a\nb", false}, {second, strings.Repeat("a", 256), false}} {
		if err := c.step.Publish(c.name, map[string]string{"report.html": c.name}); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.name, err)
		}
	}
	if all := run.Artifacts(); len(all) != 2 || all["report"]["report.html"] != "report" {
		t.Errorf("the run has %v", all)
	}
	first.AttachContent("T", "N", []byte("content"))
	if all := first.Attached("T"); len(all) != 1 || all["N"] != "content" || len(second.Attached("T")) != 0 {
		t.Errorf("the step has %v", all)
	}
}
