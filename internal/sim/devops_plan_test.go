package sim

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// request sends a request to the organisation and returns status and body.
func (o *office) request(method, address, authorization, body string) (int, string) {
	o.t.Helper()
	if !strings.HasPrefix(address, "https://") {
		address = o.org.Collection() + address
	}
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	client := o.net.Client()
	defer client.CloseIdleConnections()
	answered, err := client.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer answered.Body.Close()
	content, err := io.ReadAll(answered.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return answered.StatusCode, string(content)
}

// TestReach: a job's token writes as far as it reaches, and no further.
func TestReach(t *testing.T) {
	for _, c := range []struct {
		reach                           Reach
		job, own, patch, other, unknown int
	}{
		{OwnJob, 201, 403, 403, 403, 404},
		{OwnRun, 201, 201, 200, 403, 404},
		{OwnProject, 201, 201, 200, 201, 404},
	} {
		t.Run(fmt.Sprint(c.reach), func(t *testing.T) {
			o := newOffice(t, ApprovalSettings{})
			o.org.SetReach(c.reach)
			run, other := o.project.QueueRun(RunOptions{}), o.project.QueueRun(RunOptions{})
			stage, otherStage := run.Stage("Seal"), other.Stage("Seal")
			stage.Begin()
			step, script := stage.Step("AcrPromote"), stage.Step("CmdLine")
			step.End("failed")
			otherStep := otherStage.Step("AcrPromote")
			token := "Bearer " + stage.Token()
			put := func(r *Run, record string) int {
				status, _ := o.request("PUT", fmt.Sprintf("Shop/_apis/distributedtask/hubs/build/plans/%s/timelines/%s/records/%s/attachments/T/N", r.PlanID(), r.PlanID(), record), token, "content")
				return status
			}
			patch, _ := o.request("PATCH", fmt.Sprintf("Shop/_apis/distributedtask/hubs/build/plans/%s/timelines/%s/records", run.PlanID(), run.PlanID()), token,
				fmt.Sprintf(`{"value":[{"id":%q,"name":"renamed","result":"succeeded"}]}`, step.ID()))
			for _, got := range []struct {
				what      string
				got, want int
			}{
				{"the job's record", put(run, stage.JobID()), c.job},
				{"a step's record", put(run, step.ID()), c.own},
				{"a patch of it", patch, c.patch},
				{"another run's", put(other, otherStep.ID()), c.other},
				{"a record that is not there", put(run, "0d1a2b3c-0000-4000-8000-00000000000a"), c.unknown},
			} {
				if got.got != got.want {
					t.Errorf("%s: %d, want %d", got.what, got.got, got.want)
				}
			}
			_, timeline := o.request("GET", fmt.Sprintf("Shop/_apis/build/builds/%d/timeline", run.ID()), token, "")
			if renamed := strings.Contains(timeline, "renamed"); renamed != (c.patch == 200) {
				t.Errorf("renamed: %v", renamed)
			}
			// What the job's record has is its newest step's here.
			_, content := o.request("GET", fmt.Sprintf("Shop/_apis/build/builds/%d/%s/%s/attachments/T/N", run.ID(), run.PlanID(), script.ID()), token, "")
			if content != "content" {
				t.Errorf("the attachment has %q", content)
			}
		})
	}
}

// TestPersonalToken: a person reads every project with it, and writes into no plan.
func TestPersonalToken(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	run := o.project.QueueRun(RunOptions{})
	step := run.Stage("Seal").Step("AcrPromote")
	step.AttachContent("T", "N", []byte("content"))
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(":"+password))
	}
	build := fmt.Sprintf("Shop/_apis/build/builds/%d", run.ID())
	if status, _ := o.request("GET", build, basic("unknown"), ""); status != http.StatusNonAuthoritativeInfo {
		t.Errorf("an unknown token: %d", status)
	}
	o.org.AddPersonalToken("known")
	if status, _ := o.request("GET", build, basic("known"), ""); status != http.StatusOK {
		t.Errorf("a known one: %d", status)
	}
	if status, content := o.request("GET", build+"/"+run.PlanID()+"/"+step.ID()+"/attachments/T/N", basic("known"), ""); status != http.StatusOK || content != "content" {
		t.Errorf("the attachment: %d %s", status, content)
	}
	if status, _ := o.request("GET", build+"/"+run.PlanID()+"/"+step.ID()+"/attachments/T/other", basic("known"), ""); status != http.StatusNotFound {
		t.Errorf("another attachment: %d", status)
	}
	if status, _ := o.request("PUT", fmt.Sprintf("Shop/_apis/distributedtask/hubs/build/plans/%s/timelines/%s/records/%s/attachments/T/N", run.PlanID(), run.PlanID(), step.ID()), basic("known"), "x"); status != http.StatusForbidden {
		t.Errorf("a write: %d", status)
	}
}
