package run_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/agent"
	"acrpromote/internal/fakeagent"
	"acrpromote/internal/run"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
	"acrpromote/internal/topology"
)

const (
	top    = "contosotop.azurecr.io"
	middle = "contosomiddle.azurecr.io"
	low    = "contosolow.azurecr.io"
	tenant = "11111111-2222-3333-4444-555555555555"
	client = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

// world is a simulated Azure with three registries of different trust, and a run
// with stages in which different things became of the approval.
type world struct {
	t          *testing.T
	dir        string
	cloud      *sim.Cloud
	network    *sim.Network
	connection *sim.ServiceConnection
	stages     []*sim.Stage
	run        int // of the program
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	cloud, err := sim.Start(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	w.cloud, w.network = cloud, cloud.Network("agents", "203.0.113.10")
	directory := cloud.Directory(tenant)
	organization := cloud.DevOps("contoso")
	// What is sealed first was sealed well before it was approved.
	offset := -30 * time.Minute
	now := func() time.Time { return time.Now().Add(offset) }
	organization.SetClock(now)
	project := organization.Project("shop")
	production := project.Environment("Production")
	manager, officer, developer := sim.Person("Release Manager"), sim.Person("Security Officer"), sim.Person("Developer")
	production.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, officer, developer}, MinRequired: 1})
	scan := production.AddCheck(sim.TaskCheck)
	w.connection = project.FederatedConnection("release-identity", tenant, client)
	w.connection.AddCheck(sim.RequiredTemplate)
	directory.AddApplication(client).AddFederatedCredential(organization.Issuer(), w.connection.Subject())
	registries := map[string]*sim.Registry{}
	for _, host := range []string{top, middle, low} {
		registries[host] = cloud.Registry(host, sim.RegistryOptions{Tokens: directory, Now: now})
		registries[host].Grant(client, "**", sim.RepositoryWriter...)
	}
	seal := func(host, repository, tag string) {
		r := registries[host]
		digest := r.TagDigest(repository, tag)
		testimage.Attach(r, repository, testimage.Of(picture(host+repository+tag)), "application/vnd.acrpromote.seal.v1+json", fmt.Appendf(nil, `{"schema":"acrpromote/seal/v1","digest":%q}`, digest))
		r.SetTagLock(repository, tag, false, false)
		r.SetManifestLock(repository, digest, true, false)
	}
	for _, host := range []string{top, middle} {
		for _, repository := range []string{"shop/cart", "base/os"} {
			testimage.Put(registries[host], repository, "1.4.2", picture(host+repository+"1.4.2"))
			seal(host, repository, "1.4.2")
			testimage.Put(registries[host], repository, "nightly", picture(host+repository+"nightly"))
		}
	}
	testimage.Put(registries[low], "shop/cart", "nightly", picture("another"))
	offset = -20 * time.Minute
	queued := project.QueueRun(sim.RunOptions{RequestedFor: developer})
	for name, approve := range map[string]func(*sim.Stage) error{
		"Approved":  func(s *sim.Stage) error { return s.Approve(manager, "CHG42") },
		"Pending":   func(s *sim.Stage) error { return nil },
		"Requester": func(s *sim.Stage) error { return s.Approve(developer, "CHG43") },
		"Bypassed":  func(s *sim.Stage) error { s.Bypass(officer); return nil },
		"Unscanned": func(s *sim.Stage) error { _ = s.SetCheck(scan, "rejected"); return s.Approve(officer, "") },
	} {
		stage := queued.Stage(name, production, w.connection)
		if err := approve(stage); err != nil {
			t.Fatal(err)
		}
		stage.Begin()
		w.stages = append(w.stages, stage)
	}
	bare := queued.Stage("Bare", w.connection)
	bare.Begin()
	w.stages = append(w.stages, bare)
	slices.SortFunc(w.stages, func(a, b *sim.Stage) int { return strings.Compare(a.Name(), b.Name()) })
	// What this run pushed could be sealed.
	offset = -10 * time.Minute
	for _, host := range []string{top, middle} {
		testimage.Put(registries[host], "shop/cart", "fresh", picture(host+"fresh"))
		testimage.Put(registries[host], "base/os", "fresh", picture(host+"fresh"))
	}
	offset = 0
	return w
}

func picture(seed string) v1.Image {
	return testimage.Image("amd64", testimage.Layer(seed, 300))
}

// ending is what the program reported.
type ending struct {
	Outcome string `json:"outcome"`
	Images  []struct {
		Targets []struct {
			Registry string `json:"registry"`
			State    string `json:"state"`
		} `json:"targets"`
	} `json:"images"`
	Refusals []struct{ Rule, Reason string }    `json:"refusals"`
	Errors   []struct{ Subject, Reason string } `json:"errors"`
}

func (e ending) String() string { return fmt.Sprintf("%s %v %v", e.Outcome, e.Refusals, e.Errors) }

// start runs the program in this process as the task of a stage.
func (w *world) start(stage *sim.Stage, inputs map[string]string) ending {
	w.t.Helper()
	w.run++
	folder := filepath.Join(w.dir, fmt.Sprintf("run%d", w.run))
	if err := os.Mkdir(folder, 0o755); err != nil {
		w.t.Fatal(err)
	}
	environ := fakeagent.Environment{
		Inputs:        inputs,
		Connections:   map[string][]*sim.ServiceConnection{"azureSubscription": {w.connection}},
		TempDirectory: folder,
		Proxy:         &fakeagent.Proxy{URL: w.network.ProxyURL()},
		CAFile:        w.cloud.CAFile(),
	}.List(stage)
	config, err := agent.Read(nil, environ)
	run.Run(w.t.Context(), config, err, "1.0.0", io.Discard, io.Discard)
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var e ending
	if err := json.Unmarshal(content, &e); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// generator makes inputs and flow files. Each piece alone makes sense; what they
// make together may be anything.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

// flows are a flow file, with the sources of its flows by name.
type flows struct {
	path, text string
	from       map[string]string
	*topology.File
}

// flowFile returns a valid flow file of one to three flows.
func (g generator) flowFile(path string) flows {
	approvals := []string{
		"{kind: none}", "{kind: none}", "{environment: Production}", "{environment: Production}", "{environment: Production}", "{kind: manual, environment: Production, minApprovers: 2}", "{environment: Production, code: true}",
		"{environment: Production, commentPattern: CHG}", "{kind: automated, checks: [{definition: 9c3e8943-130d-4c78-ac63-8af81df62dfb, resource: Production}]}",
		"{kind: any, environment: Production, checks: [{definition: 9c3e8943-130d-4c78-ac63-8af81df62dfb, resource: Production}]}", "{environment: Elsewhere}",
		"{environment: Production, requesterCanApprove: true}",
	}
	for {
		var b strings.Builder
		sources := map[string]string{}
		fmt.Fprintf(&b, "version: 1\ntrust: [sandbox, staging, production]\nregistries:\n  top: {host: %s, trust: production%s}\n  middle: {host: %s, trust: staging}\n  low: {host: %s, trust: sandbox}\nflows:\n",
			top, g.pick("", ", immutable: true"), middle, low)
		for _, name := range []string{"first", "second", "third"}[:1+g.IntN(3)] {
			from := g.pick("top", "middle", "middle")
			sources[name] = map[string]string{"top": top, "middle": middle}[from]
			to := g.pick("low", "low", "low", "low", "top", "top", "top", "top, low", "middle, low", "middle")
			fmt.Fprintf(&b, "  %s:\n    from: %s\n    to: [%s]\n", name, from, to)
			if g.IntN(2) > 0 || name != "first" {
				fmt.Fprintf(&b, "    repositories: [%q]\n", g.pick("shop/**", "shop/cart", "base/*", "*/*", "*/*", "other/*"))
			}
			if g.IntN(3) == 0 || strings.Contains(to, from) {
				fmt.Fprintf(&b, "    movingTags: [%s]\n", g.pick("nightly", "live, nightly"))
			}
			if g.IntN(8) == 0 {
				b.WriteString("    teams: {")
				for _, target := range strings.Split(to, ", ") {
					fmt.Fprintf(&b, "%s: [%q], ", target, g.pick("shop/**", "base/os"))
				}
				b.WriteString("}\n")
			}
			if g.IntN(3) == 0 {
				fmt.Fprintf(&b, "    lock: %s\n", g.pick("tag", "none"))
			}
			fmt.Fprintf(&b, "    require: {approval: %s%s%s}\n", approvals[g.IntN(len(approvals))], g.pick("", ", sealed: true", ", sealed: false", ", sealed: false"), g.pick("", "", "", "", "", "", "", ", branches: [refs/heads/release]"))
		}
		if file, err := topology.Parse("flows.yml", []byte(b.String())); err == nil {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				panic(err)
			}
			return flows{path, b.String(), sources, file}
		}
	}
}

// fit adds inputs that a flow covers, as far as there are any.
func (g generator) fit(flow *topology.Flow, host string, in map[string]string) {
	repository, tag := g.pick("shop/cart", "base/os"), g.pick("1.4.2", "1.4.2", "nightly", "fresh")
	if !flow.Covers(repository, tag) {
		repository = map[string]string{"shop/cart": "base/os", "base/os": "shop/cart"}[repository]
	}
	in["source"] = host + "/" + repository + ":" + tag
	if slices.Contains(flow.To, flow.From) {
		in["targets"] = host + "/" + repository + ":live"
	}
	if g.IntN(3) == 0 {
		in["flow"] = flow.Name
	}
}

// inputs returns inputs of a task without its action, for a flow file or, without
// a path, for none. Some of them are made to fit the file.
func (g generator) inputs(f flows) map[string]string {
	in := map[string]string{}
	maybe := func(one int, name string, values ...string) {
		if g.IntN(one) == 0 {
			in[name] = g.pick(values...)
		}
	}
	host := g.pick(top, middle, middle)
	if f.path != "" {
		in["flowFile"] = f.path
		name := g.pick(slices.Sorted(maps.Keys(f.from))...)
		host = f.from[name]
		if g.IntN(2) == 0 {
			g.fit(f.Flows[name], host, in)
			if g.IntN(2) == 0 {
				return in
			}
		}
		maybe(3, "flow", name, name, name, "first", "second", "third")
	}
	switch {
	case in["source"] != "":
	case f.path != "" && g.IntN(6) == 0:
		in["images"] = g.pick("shop/cart:1.4.2", "shop/cart:1.4.2\nbase/os:1.4.2", "shop/cart:1.*", "base/os:nightly", "other/x:1")
		in["flow"] = g.pick(slices.Sorted(maps.Keys(f.from))...)
	default:
		in["source"] = host + "/" + g.pick("shop/cart:1.4.2", "shop/cart:1.4.2", "shop/cart:1.4.2", "shop/cart:nightly", "shop/cart:fresh", "base/os:1.4.2", "base/os:fresh", "base/os:nightly", "other/x:1")
		if g.IntN(20) == 0 {
			in["source"] = g.pick(top, middle, low) + "/shop/cart:1.4.2"
		}
		maybe(3, "targets", low, low, low, low, low+"\n"+top, top, top, middle, host+"/shop/cart:live", host+"/shop/cart:nightly", low+"/elsewhere", "contosounknown.azurecr.io", " \n ")
	}
	if f.path == "" && in["targets"] != "" {
		in["environment"] = "Production"
	}
	maybe(2, "environment", "Production", "Production", "Elsewhere", "endpoint:release-identity")
	maybe(5, "approval", "manual", "automated", "any", "none")
	maybe(6, "minApprovers", "1", "2")
	maybe(8, "approvers", "release.manager@example.com", "security.officer@example.com")
	maybe(8, "approvalMaxAge", "1m", "1h")
	maybe(8, "commentPattern", "CHG[0-9]+", "OK")
	maybe(10, "approvalCode", "true", "plan", "false")
	maybe(6, "requesterCanApprove", "true", "false")
	maybe(8, "sealed", "true", "false")
	maybe(8, "moveTag", "true", "false")
	maybe(10, "lock", "none", "tag", "image")
	maybe(12, "digest", "sha256:"+strings.Repeat("0", 64))
	maybe(10, "approvalStage", "Approved", "Pending", "Nowhere")
	maybe(10, "referrers", "false")
	maybe(12, "deep", "true")
	maybe(10, "onPartial", "warn", "fail")
	return in
}

func with(in map[string]string, pairs ...string) map[string]string {
	in = maps.Clone(in)
	for i := 0; i+1 < len(pairs); i += 2 {
		in[pairs[i]] = pairs[i+1]
	}
	return in
}

var worlds = flag.Int("worlds", 3, "in how many worlds to try generated inputs of verify, 80 each")

// TestVerifyNeverNods: for generated inputs and flow files, verify ends done only
// if the action would with the same inputs: its dry run, and the action itself.
// With a flow file the action is one that moves images.
func TestVerifyNeverNods(t *testing.T) {
	const combinations = 80
	counted := map[string]int{}
	var mu sync.Mutex
	t.Run("worlds", func(t *testing.T) {
		for seed := range *worlds {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				counts := verifyNeverNods(t, uint64(seed), combinations)
				mu.Lock()
				defer mu.Unlock()
				for name, n := range counts {
					counted[name] += n
				}
			})
		}
	})
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		fmt.Fprintf(&table, "%6d %s\n", counted[name], name)
	}
	t.Logf("%d combinations\n%s", *worlds*combinations, &table)
	for name, least := range map[string]int{
		"verify refused": 10 * *worlds, "verify misuse": 10 * *worlds, "verify done": 2 * *worlds,
		"verify done, and invertedPush": 1, "verify done, and promote": 1,
	} {
		if counted[name] < least {
			t.Errorf("only %d combinations: %s", counted[name], name)
		}
	}
}

// verifyNeverNods tries combinations in one world, and counts what came out.
func verifyNeverNods(t *testing.T, seed uint64, combinations int) map[string]int {
	w := newWorld(t)
	g := generator{rand.New(rand.NewPCG(seed, 6))}
	counted := map[string]int{}
	var newest flows
	for i := range combinations {
		if i%4 == 0 {
			newest = g.flowFile(filepath.Join(w.dir, fmt.Sprintf("flows%d.yml", i)))
		}
		file := newest
		if g.IntN(6) == 0 {
			file = flows{}
		}
		in := g.inputs(file)
		stage := w.stages[g.IntN(len(w.stages))]
		if g.IntN(4) > 0 {
			stage = w.stages[0] // Approved
		}
		verified := w.start(stage, with(in, "action", "verify"))
		counted["verify "+verified.Outcome]++
		actions := []string{agent.InvertedPush, agent.Promote}
		if file.path == "" && strings.TrimSpace(in["targets"]) == "" {
			actions = []string{agent.Seal}
		}
		if verified.Outcome != "done" && g.IntN(4) > 0 {
			continue // what the actions would do then is looked at now and again
		}
		var ended []string
		action := ""
		for _, a := range actions {
			e := w.start(stage, with(in, "action", a, "dryRun", "true"))
			ended = append(ended, a+": "+e.String())
			if e.Outcome == "done" {
				action = a
			}
		}
		if verified.Outcome != "done" {
			if action != "" {
				counted["verify "+verified.Outcome+", and "+action+" would be done"]++
			}
			continue
		}
		report := func(what string) {
			t.Errorf("combination %d, stage %s: verify is done, %s\ninputs %q\n%s\n%s", i, stage.Name(), what, in, strings.Join(ended, "\n"), file.text)
		}
		if action == "" {
			report("and no action would be")
			continue
		}
		if e := w.start(stage, with(in, "action", action)); e.Outcome != "done" {
			report("and the action " + action + " ends " + e.String())
		}
		counted["verify done, and "+action]++
		if file.path != "" {
			for _, image := range verified.Images {
				if len(image.Targets) == 0 {
					report("with an image that goes nowhere")
				}
			}
		}
	}
	return counted
}
