package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"acrpromote/internal/collection"
	"acrpromote/internal/sanitize"
)

// job is the job that this program runs in, and its token.
type job struct {
	*devOps
	release   bool
	server    bool // Azure DevOps Server
	run       int
	plan      string
	record    string // of the job
	oidc      string
	locations map[string]string
	otherRun  int
}

// Names of what the job attaches.
const (
	reportName  = "answers"
	summaryName = "livecheck-"
)

// firstStep is the name of the step of the printed pipeline whose record the job
// tries to write to.
const firstStep = "livecheck-first"

func (j *job) is(of part) bool {
	switch of {
	case ofReleaseJob:
		return j.release
	case ofServerJob:
		return !j.release && j.server
	}
	return !j.release
}

// runJob checks what only a job's token can show, writes the answers to a file and
// has the agent attach it to the run.
func runJob(ctx context.Context, o options, stdout io.Writer) error {
	project := os.Getenv("SYSTEM_TEAMPROJECT")
	if err := throwAway("project", project, o.prefix); err != nil {
		return err
	}
	token := os.Getenv("SYSTEM_ACCESSTOKEN")
	if token == "" {
		return errors.New("SYSTEM_ACCESSTOKEN is not set: map it in the step's env")
	}
	secrets := &sanitize.Secrets{}
	secrets.Add(token)
	address := os.Getenv("SYSTEM_COLLECTIONURI")
	at, err := collection.Parse(address)
	if err != nil {
		return fmt.Errorf("SYSTEM_COLLECTIONURI: %w", err)
	}
	j := &job{
		devOps:  &devOps{http: newHTTPClient(), at: at, collection: address, project: project, authorization: "Bearer " + token},
		release: os.Getenv("SYSTEM_HOSTTYPE") != "build",
		server:  !ofCloud(address),
		plan:    os.Getenv("SYSTEM_PLANID"), record: os.Getenv("SYSTEM_JOBID"), oidc: os.Getenv("SYSTEM_OIDCREQUESTURI"),
		locations: map[string]string{},
	}
	j.run, _ = strconv.Atoi(os.Getenv("BUILD_BUILDID"))
	j.otherRun, _ = strconv.Atoi(os.Getenv("LIVECHECK_OTHER_RUN"))
	for _, name := range []string{"SYSTEM_COLLECTIONURI", "SYSTEM_TEAMFOUNDATIONSERVERURI", "SYSTEM_OIDCREQUESTURI"} {
		j.locations[name] = os.Getenv(name)
	}
	c := &check{o: o, hide: newPseudonyms(secrets, o.names), job: j, answers: map[string]answer{}}
	c.hide.organization(address, project)

	found := jobReport{Schema: jobSchema, Answers: map[string]answer{}}
	for _, f := range facts {
		if f.of != ofJob && f.of != ofServerJob && f.of != ofReleaseJob || !j.is(f.of) {
			continue
		}
		found.Answers[f.id] = c.hide.answer(c.ask(ctx, f))
	}
	content, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	file, err := filepath.Abs(o.job)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return fmt.Errorf("writing the answers: %w", err)
	}
	fmt.Fprintf(stdout, "%s\n##vso[task.addattachment type=%s;name=%s]%s\n", content, reportAttachment, reportName, file)
	if j.release {
		return nil
	}
	// How much of a summary the server keeps is seen afterwards, in the run's attachments.
	for _, size := range []int{64, 128, 256, 1024} {
		summary := filepath.Join(filepath.Dir(file), fmt.Sprintf("%s%04d.md", summaryName, size))
		text := strings.Repeat("All work and no play.\n\n", size<<10/23+1)[:size<<10]
		if err := os.WriteFile(summary, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing a summary: %w", err)
		}
		fmt.Fprintf(stdout, "##vso[task.uploadsummary]%s\n", summary)
	}
	return nil
}

// ofCloud reports whether the address of a collection is one of Azure DevOps Services.
func ofCloud(address string) bool {
	at, err := url.Parse(address)
	host := ""
	if err == nil {
		host = strings.ToLower(at.Hostname())
	}
	return host == "dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com")
}

// checkpoint returns the checkpoint of stage Approved and its approvals.
func (j *job) checkpoint(ctx context.Context) (id string, approvals []string, err error) {
	t, err := j.readTimeline(ctx, j.run)
	if err != nil {
		return "", nil, err
	}
	stage, ok := t.find("Stage", approvedStage)
	checkpoints := t.children(stage.ID, "Checkpoint")
	if !ok || len(checkpoints) != 1 {
		return "", nil, fmt.Errorf("the run has no stage %s with a checkpoint", approvedStage)
	}
	return checkpoints[0], t.children(checkpoints[0], "Checkpoint.Approval"), nil
}

func probeApprovalsRight(ctx context.Context, c *check) answer {
	_, ids, err := c.job.checkpoint(ctx)
	if err != nil {
		return failed(err)
	}
	if len(ids) == 0 {
		return unchecked("stage " + approvedStage + " has no approval")
	}
	got, err := c.job.send(ctx, http.MethodGet, approvalsPath(ids), "", nil)
	if err != nil {
		return failed(err)
	}
	var list struct{ Value []approval }
	if got.status == http.StatusOK && json.Unmarshal(got.body, &list) == nil && len(list.Value) == len(ids) {
		return answer{Answer: answerA, Status: got.status}
	}
	if got.status == http.StatusOK {
		return answer{Answer: answerOther, Status: got.status, Why: fmt.Sprintf("%d of %d approvals", len(list.Value), len(ids))}
	}
	return got.either(answerOther, answerB)
}

func probeResourceName(ctx context.Context, c *check) answer {
	checkpoint, _, err := c.job.checkpoint(ctx)
	if err != nil {
		return failed(err)
	}
	var s suite
	if err := c.job.read(ctx, suitePath(checkpoint), &s); err != nil {
		return failed(err)
	}
	if len(s.CheckRuns) == 0 {
		return unchecked("the check suite has no check runs")
	}
	named := 0
	for _, run := range s.CheckRuns {
		if run.Ref.Resource.Name != "" {
			named++
		}
	}
	return between(named == len(s.CheckRuns), fmt.Sprintf("%d of %d resources have a name", named, len(s.CheckRuns)))
}

func probeRunToken(ctx context.Context, c *check) answer     { return c.job.ownToken(ctx, c, "run_id") }
func probeServerToken(ctx context.Context, c *check) answer  { return c.job.ownToken(ctx, c, "run_id") }
func probeReleaseToken(ctx context.Context, c *check) answer { return c.job.ownToken(ctx, c, "") }

// ownToken asks for a token of the job itself, which has to have a claim.
func (j *job) ownToken(ctx context.Context, c *check, claim string) answer {
	if j.oidc == "" {
		return between(false, "SYSTEM_OIDCREQUESTURI is not set")
	}
	if !j.at.Contains(j.oidc) {
		return unchecked("SYSTEM_OIDCREQUESTURI is not in the collection")
	}
	got, err := j.sendTo(ctx, http.MethodPost, j.oidc+"?api-version=7.1", "application/json", nil)
	if err != nil {
		return failed(err)
	}
	if !got.accepted() {
		return got.either(answerOther, answerB)
	}
	var document struct {
		Token string `json:"oidcToken"`
	}
	if err := json.Unmarshal(got.body, &document); err != nil || document.Token == "" {
		return answer{Answer: answerOther, Status: got.status, Why: "the answer has no oidcToken"}
	}
	c.hide.secrets.Add(document.Token)
	names, value, err := claims(document.Token, claim)
	switch {
	case err != nil:
		return answer{Answer: answerOther, Status: got.status, Why: err.Error()}
	case claim != "" && value != strconv.Itoa(j.run):
		return answer{Answer: answerOther, Status: got.status, Why: claim + " is not the run; claims: " + strings.Join(names, " ")}
	}
	return answer{Answer: answerA, Status: got.status, Why: "claims: " + strings.Join(names, " ")}
}

func rawURL(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(text) }

// attach puts an attachment under a record of a plan.
func (j *job) attach(ctx context.Context, plan, record, name string) (response, error) {
	path := fmt.Sprintf("distributedtask/hubs/build/plans/%s/timelines/%s/records/%s/attachments/%s/%s?api-version=7.1-preview.1", plan, plan, record, reportAttachment, name)
	return j.send(ctx, http.MethodPut, path, "application/octet-stream", []byte("livecheck"))
}

func (j *job) first(ctx context.Context) (record, error) {
	t, err := j.readTimeline(ctx, j.run)
	if err != nil {
		return record{}, err
	}
	first, ok := t.find("Task", firstStep)
	if !ok {
		return record{}, fmt.Errorf("the job has no step %s", firstStep)
	}
	return first, nil
}

func probeOtherStep(ctx context.Context, c *check) answer {
	first, err := c.job.first(ctx)
	if err != nil {
		return failed(err)
	}
	got, err := c.job.attach(ctx, c.job.plan, first.ID, "forged")
	if err != nil {
		return failed(err)
	}
	return got.either(answerB, answerA)
}

// forgedName is what probePatchRecord names the first step.
const forgedName = "livecheck-patched"

func probePatchRecord(ctx context.Context, c *check) answer {
	first, err := c.job.first(ctx)
	if err != nil {
		return failed(err)
	}
	body, err := json.Marshal(map[string]any{"count": 1, "value": []any{map[string]any{"id": first.ID, "name": forgedName}}})
	if err != nil {
		return failed(err)
	}
	path := fmt.Sprintf("distributedtask/hubs/build/plans/%s/timelines/%s/records?api-version=7.1", c.job.plan, c.job.plan)
	got, err := c.job.send(ctx, http.MethodPatch, path, "application/json", body)
	if err != nil {
		return failed(err)
	}
	if !got.accepted() {
		return got.either(answerB, answerA)
	}
	t, err := c.job.readTimeline(ctx, c.job.run)
	if err != nil {
		return failed(err)
	}
	if now, ok := t.byID(first.ID); !ok || now.Name != forgedName {
		return answer{Answer: answerA, Status: got.status, Why: "accepted, and the record is as before"}
	}
	return answer{Answer: answerB, Status: got.status}
}

func probeOtherRun(ctx context.Context, c *check) answer {
	j := c.job
	if j.otherRun == 0 || j.otherRun == j.run {
		return unchecked("LIVECHECK_OTHER_RUN does not name an earlier run")
	}
	other, err := j.readBuild(ctx, j.otherRun)
	if err != nil {
		return failed(err)
	}
	t, err := j.readTimeline(ctx, j.otherRun)
	if err != nil {
		return failed(err)
	}
	first, ok := t.find("Task", firstStep)
	if !ok {
		first, ok = t.find("Task", forgedName)
	}
	if !ok {
		return unchecked("the other run has no step " + firstStep)
	}
	got, err := j.attach(ctx, other.Plan.PlanID, first.ID, "forged")
	if err != nil {
		return failed(err)
	}
	return got.either(answerB, answerA)
}

func probeReleaseHosts(_ context.Context, c *check) answer {
	hosts := map[string]bool{}
	var why []string
	for _, name := range []string{"SYSTEM_COLLECTIONURI", "SYSTEM_TEAMFOUNDATIONSERVERURI", "SYSTEM_OIDCREQUESTURI"} {
		at, err := url.Parse(c.job.locations[name])
		if err != nil || at.Host == "" {
			why = append(why, name+" is not set")
			continue
		}
		hosts[strings.ToLower(at.Host)] = true
		why = append(why, name+"="+at.Host)
	}
	return between(len(hosts) == 1, strings.Join(why, "; "))
}
