package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
)

const (
	ownProject   = "3a6f2d9b-7c11-4a52-8f3e-5f3a1f9a6b33"
	otherProject = "44444444-aaaa-4aaa-8aaa-444444444444"
)

// rulesOf reads the rules of a flow.
func rulesOf(t *testing.T, require string) topology.Rules {
	t.Helper()
	file, err := topology.Parse("flows.yml", []byte("version: 1\ntrust: [dev, prod]\nregistries:\n  prod: {host: "+prod+", trust: prod}\n  dev: {host: "+dev+", trust: dev}\nflows:\n  down: {from: prod, to: [dev], require: "+require+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := file.Flows["down"].Tighten("1", topology.Inputs{}, topology.Defaults{Sealed: true})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// sealedImage is what run 7 of main has sealed and run 8 releases.
func sealedImage() Source {
	started := noon.Add(-time.Hour)
	return Source{
		Digest: released, Branch: "refs/heads/main", RunStarted: started,
		Releasing: approval.Releasing{Source: approval.YAML, ID: 8, ProjectID: ownProject, Project: "Shop", PipelineID: 12, RepositoryID: "repo", Branch: "refs/heads/main"},
		Records: []Record{{Digest: other, Created: started.Add(time.Minute), Run: seal.Run{Kind: "yaml", Project: "Shop", ID: 7},
			Sealing: &approval.SealRun{Source: approval.YAML, ID: 7,
				Build: approval.BuildRecord{ID: approval.Number{Value: 7, Set: true}, ProjectID: strings.ToUpper(ownProject), Project: "Shop",
					PipelineID: approval.Number{Value: 12, Set: true}, RepositoryID: "REPO", Branch: "refs/heads/main", Started: started},
				Steps: []approval.SealStep{{Digest: released, Kind: "Task", TaskID: approval.SealTask, State: "completed", Result: "succeeded", Finished: started.Add(2 * time.Minute), Stage: "Build"}}}}},
	}
}

// TestSealedBy changes one thing at a time of an image that a run of the flow's
// branch has sealed.
func TestSealedBy(t *testing.T) {
	build := func(s *Source) *approval.BuildRecord { return &s.Records[0].Sealing.Build }
	const branches = "{branches: [refs/heads/main]}"
	for _, c := range []struct {
		name, require string
		change        func(*Source)
		why           string // "" is let out
	}{
		{"as it should be", branches, func(*Source) {}, ""},
		{"proved", branches, func(s *Source) { s.Records[0].Sealing.Steps[0].Template = true }, ""},
		{"without branches nothing is asked", "{}", func(s *Source) { s.Records[0].Sealing = nil }, ""},
		{"another branch", branches, func(s *Source) { build(s).Branch = "refs/heads/dev" }, "of refs/heads/dev"},
		{"no branch", branches, func(s *Source) { build(s).Branch = "" }, "run 7 is of "},
		{"another pipeline", branches, func(s *Source) { build(s).PipelineID.Value = 13 }, "pipeline 13"},
		{"no pipeline", branches, func(s *Source) { build(s).PipelineID = approval.Number{}; s.Releasing.PipelineID = 0 }, "pipeline 0"},
		{"another project", branches, func(s *Source) { build(s).ProjectID = otherProject }, "of the project"},
		{"no project", branches, func(s *Source) { build(s).ProjectID = "" }, "of the project"},
		{"another repository", branches, func(s *Source) { build(s).RepositoryID = "fork" }, "another repository"},
		{"no repository at all", branches, func(s *Source) { build(s).RepositoryID = ""; s.Releasing.RepositoryID = "" }, "another repository"},
		{"another run's record", branches, func(s *Source) { build(s).ID.Value = 6 }, "another one"},
		{"no id", branches, func(s *Source) { build(s).ID = approval.Number{} }, "another one"},
		{"not read", branches, func(s *Source) { s.Records[0].Sealing = nil }, "names run 7"},
		{"not readable", branches, func(s *Source) { s.Records[0].Sealing = &approval.SealRun{Unread: "denied", Remedy: "grant it"} }, "denied"},
		{"outside any run", branches, func(s *Source) { s.Records[0].Run = seal.Run{Kind: "none"} }, "outside any run"},
		{"of no kind", branches, func(s *Source) { s.Records[0].Run.Kind = "" }, "outside any run"},
		{"released outside any run", branches, func(s *Source) { s.Releasing = approval.Releasing{} }, "outside a run"},
		{"no time of the record", branches, func(s *Source) { s.Records[0].Created = time.Time{} }, "does not say when"},
		{"no attachment", branches, func(s *Source) { s.Records[0].Sealing.Steps = nil }, "no attachment"},
		{"one that fits among others", branches, func(s *Source) {
			forged := Record{Digest: "f", Run: seal.Run{Kind: "yaml", ID: 1}, Sealing: &approval.SealRun{Unread: "404"}}
			s.Records = []Record{forged, {Digest: "g"}, s.Records[0], forged}
		}, ""},
		{"a named pipeline", "{sealedBy: {pipelines: [13]}}", func(s *Source) { build(s).PipelineID.Value = 13 }, ""},
		{"this pipeline, and another is named", "{sealedBy: {pipelines: [13]}}", func(*Source) {}, "pipeline 12"},
		{"any branch", "{sealedBy: {pipelines: [12]}}", func(s *Source) { build(s).Branch = "refs/heads/dev" }, ""},
		{"a named project", "{sealedBy: {projects: [builds]}}", func(s *Source) { build(s).ProjectID, build(s).Project = otherProject, "Builds" }, ""},
		{"a project by its ID", "{sealedBy: {projects: [" + otherProject + "]}}", func(s *Source) { build(s).ProjectID, build(s).Project = otherProject, "Builds" }, ""},
		{"a project without a name", "{sealedBy: {projects: [builds]}}", func(s *Source) { build(s).ProjectID, build(s).Project = otherProject, "" }, "of the project"},
		{"this project, and another is named", "{sealedBy: {projects: [builds]}}", func(*Source) {}, "of the project"},
		{"a pull request, for all refs", "{sealedBy: {branches: [refs/**]}}", func(s *Source) { build(s).Branch = "refs/pull/7/merge" }, "refs/pull/7/merge"},
		{"sealed by another release", branches, func(s *Source) { s.Records[0].Run.Kind = "release" }, "only that release itself"},
		{"sealed by this release", branches, func(s *Source) {
			s.Records[0].Run.Kind, s.Releasing.Source, s.Releasing.ID, s.Records[0].Sealing.Source = "release", approval.Release, 7, approval.Release
			s.Records[0].Sealing.Steps[0].Started = noon.Add(-time.Hour)
		}, ""},
		{"sealed by this release, of another branch", branches, func(s *Source) {
			s.Records[0].Run.Kind, s.Releasing.Source, s.Releasing.ID, s.Records[0].Sealing.Source = "release", approval.Release, 7, approval.Release
			s.Records[0].Sealing.Steps[0].Started, s.Releasing.Branch = noon.Add(-time.Hour), "refs/heads/dev"
		}, "on refs/heads/dev"},
	} {
		source := sealedImage()
		c.change(&source)
		w := wantedBy("1", rulesOf(t, c.require))
		refusals, outcomes := judgeSealers(w, source)
		if c.why == "" {
			if len(refusals) > 0 || c.require != "{}" && (len(outcomes) != 1 || !outcomes[0].Met) {
				t.Errorf("%s: refused %v, outcomes %v", c.name, refusals, outcomes)
			}
			continue
		}
		if len(refusals) != 1 || refusals[0].Rule != rule.Branch || !strings.Contains(refusals[0].Reason, c.why) || refusals[0].Remedy == "" || len(outcomes) != 1 || outcomes[0].Met {
			t.Errorf("%s: refused %v, outcomes %v; want %q", c.name, refusals, outcomes, c.why)
		}
	}
}

func TestSealedByTold(t *testing.T) {
	w := wantedBy("1", rulesOf(t, "{branches: [refs/heads/main]}"))
	for template, want := range map[bool]string{
		true:  "proved: made by run 7 of refs/heads/main in its stage Build, which passed a required template",
		false: "claimed by run 7 of refs/heads/main, whose stage Build passed no required template",
	} {
		source := sealedImage()
		source.Records[0].Sealing.Steps[0].Template = template
		if _, outcomes := judgeSealers(w, source); len(outcomes) != 1 || !strings.HasSuffix(outcomes[0].Detail, want) {
			t.Errorf("%v, want %q", outcomes, want)
		}
	}
	// The first few reasons, and what to grant.
	source := sealedImage()
	source.Records = nil
	for n := range 9 {
		source.Records = append(source.Records, Record{Run: seal.Run{Kind: "yaml", ID: n + 1}, Sealing: &approval.SealRun{Unread: fmt.Sprintf("run %d is denied", n+1), Remedy: "grant it"}})
	}
	refusals, _ := judgeSealers(w, source)
	if len(refusals) != 1 || !strings.Contains(refusals[0].Reason, "run 5 is denied; and 4 more records") || refusals[0].Remedy != "grant it" {
		t.Errorf("refused %v", refusals)
	}
	// What is not sealed at all is refused once.
	source.Records = nil
	if refusals, _ := judgeSealers(w, source); len(refusals) != 0 {
		t.Errorf("refused %v", refusals)
	}
	unsealed := w
	unsealed.Routes = []Route{{Rules: w.Routes[0].Rules}}
	unsealed.Routes[0].Rules.Sealed = false
	if refusals, _ := judgeSealers(unsealed, source); len(refusals) != 1 {
		t.Errorf("refused %v", refusals)
	}
	audited := w
	audited.Action = Audit
	if refusals, outcomes := judgeSealers(audited, sealedImage()); len(refusals)+len(outcomes) > 0 {
		t.Errorf("an audit is judged: %v %v", refusals, outcomes)
	}
}

// TestClaims: which runs are read.
func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name, require string
		run           seal.Run
		want          string
	}{
		{"no branches", "{}", seal.Run{Kind: "yaml", Project: "Shop", ID: 7}, "[]"},
		{"this project, whatever the record says", "{branches: [refs/heads/main]}", seal.Run{Kind: "yaml", Project: "Elsewhere", ID: 7}, "[{" + ownProject + " 7}]"},
		{"no run", "{branches: [refs/heads/main]}", seal.Run{Kind: "yaml", Project: "Shop"}, "[]"},
		{"a release", "{branches: [refs/heads/main]}", seal.Run{Kind: "release", Project: "Shop", ID: 7}, "[]"},
		{"a named project", "{sealedBy: {projects: [Builds, Shop]}}", seal.Run{Kind: "yaml", Project: "shop", ID: 7}, "[{Shop 7}]"},
		{"another project", "{sealedBy: {projects: [Builds]}}", seal.Run{Kind: "yaml", Project: "shop", ID: 7}, "[]"},
		{"a project by its ID", "{sealedBy: {projects: [" + otherProject + "]}}", seal.Run{Kind: "yaml", Project: "shop", ID: 7}, "[{" + otherProject + " 7}]"},
	} {
		i := Image{Wanted: wantedBy("1", rulesOf(t, c.require)), Observed: Observed{Source: sealedImage()}}
		if got := fmt.Sprint(i.Claims(Record{Run: c.run})); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestNeedsRecord: when a run that seals attaches a record of its own.
func TestNeedsRecord(t *testing.T) {
	bound, free := rulesOf(t, "{branches: [refs/heads/main]}"), rulesOf(t, "{}")
	for _, c := range []struct {
		name    string
		covered bool
		rules   topology.Rules
		change  func(*Source)
		want    bool
	}{
		{"no record", false, free, func(s *Source) { s.Records = nil }, true},
		{"no record, by a flow", true, free, func(s *Source) { s.Records = nil }, true},
		{"another run's", false, free, func(*Source) {}, true},
		{"its own", false, free, func(s *Source) { s.Records[0].Run.ID = 8 }, false},
		{"its own, of another kind", false, free, func(s *Source) { s.Records[0].Run = seal.Run{Kind: "release", ID: 8} }, true},
		{"its own, from before it began", false, free, func(s *Source) { s.Records[0].Run.ID, s.Records[0].Created = 8, s.RunStarted.Add(-time.Hour) }, true},
		{"at a prompt", false, free, func(s *Source) { s.Releasing = approval.Releasing{} }, false},
		{"another run's, by a flow that does not ask who", true, free, func(*Source) {}, false},
		{"another run's that the flow takes", true, bound, func(*Source) {}, false},
		{"another run's that the flow does not take", true, bound, func(s *Source) { s.Records[0].Sealing.Build.Branch = "refs/heads/dev" }, true},
		{"its own, by a flow", true, bound, func(s *Source) { s.Records[0].Run.ID, s.Records[0].Sealing = 8, nil }, false},
	} {
		source := sealedImage()
		c.change(&source)
		w := wantedBy("1", c.rules)
		w.Action, w.Covered = Seal, c.covered
		if got := needsRecord(w, source); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSealingRun: a run that no flow would take is refused when it seals.
func TestSealingRun(t *testing.T) {
	for _, c := range []struct {
		name, require string
		change        func(*Source)
		why           string
	}{
		{"of the branch", "{branches: [refs/heads/main]}", func(*Source) {}, ""},
		{"of another branch", "{branches: [refs/heads/dev]}", func(*Source) {}, "refs/heads/dev"},
		{"of a branch that seals", "{branches: [refs/heads/dev], sealedBy: {branches: [refs/heads/main]}}", func(*Source) {}, ""},
		{"of a branch that releases", "{branches: [refs/heads/main], sealedBy: {branches: [refs/heads/dev]}}", func(*Source) {}, "refs/heads/dev"},
		{"of the pipeline", "{sealedBy: {pipelines: [12]}}", func(*Source) {}, ""},
		{"of another pipeline", "{sealedBy: {pipelines: [13]}}", func(*Source) {}, "pipeline 12"},
		{"of another project", "{sealedBy: {projects: [Builds]}}", func(*Source) {}, `project "Shop"`},
		{"outside any run", "{sealedBy: {pipelines: [12]}}", func(s *Source) { s.Releasing, s.Branch = approval.Releasing{}, "" }, "not a run of Azure Pipelines"},
		{"outside any run, with branches", "{branches: [refs/heads/main]}", func(s *Source) { s.Releasing, s.Branch = approval.Releasing{}, "" }, "no run"},
	} {
		source := sealedImage()
		source.Tag = &Attributes{Digest: released, Updated: noon}
		c.change(&source)
		w := wantedBy("1", rulesOf(t, c.require))
		w.Action, w.Targets, w.Covered = Seal, nil, true
		p := Make([]Image{{Wanted: w, Observed: Observed{Source: source}}}, approval.Verdict{Granted: true})
		if c.why == "" && len(p.Refusals) > 0 || c.why != "" && (len(p.Refusals) != 1 || p.Refusals[0].Rule != rule.Branch || !strings.Contains(p.Refusals[0].Reason, c.why)) {
			t.Errorf("%s: %v, want %q", c.name, p.Refusals, c.why)
		}
	}
}

// TestSealedByOutsideRun checks that a plan outside any run does not judge which run
// sealed an image, but still whether one has.
func TestSealedByOutsideRun(t *testing.T) {
	w := wantedBy("1", rulesOf(t, "{branches: [refs/heads/main]}"))
	for name, c := range map[string]struct {
		change  func(*Source)
		pending bool
		refused bool
	}{
		"outside":              {func(s *Source) {}, true, false},
		"outside, not sealed":  {func(s *Source) { s.Records = nil }, false, false}, // refused as not-sealed
		"in a run, unreadable": {func(s *Source) { s.Outside, s.Records[0].Sealing = false, nil }, false, true},
	} {
		s := sealedImage()
		s.Branch, s.Releasing, s.Outside = "", approval.Releasing{}, true
		c.change(&s)
		refusals, outcomes := judgeSealers(w, s)
		pending := len(outcomes) == 1 && outcomes[0].Pending && !outcomes[0].Met
		if pending != c.pending || len(refusals) > 0 != c.refused {
			t.Errorf("%s: refusals %v, outcomes %v", name, refusals, outcomes)
		}
	}
}
