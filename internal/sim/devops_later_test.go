package sim

import "testing"

// TestLaterStage checks that a stage which waits for others is in the timeline without
// a checkpoint, and has one with its approvals when it is ready.
func TestLaterStage(t *testing.T) {
	o := newOffice(t, ApprovalSettings{Approvers: []Identity{Person("Release Manager")}})
	run := o.project.QueueRun(RunOptions{})
	stage := run.LaterStage("Production", o.env)
	count := func() (stages, checkpoints, approvals int) {
		o.org.mu.Lock()
		defer o.org.mu.Unlock()
		for _, r := range run.timeline("")["records"].([]any) {
			switch record := r.(map[string]any); record["type"] {
			case "Stage":
				if record["identifier"] == "Production" && record["state"] == "pending" {
					stages++
				}
			case "Checkpoint":
				checkpoints++
			case "Checkpoint.Approval":
				approvals++
			}
		}
		return stages, checkpoints, approvals
	}
	// The stage Build has a checkpoint.
	if s, c, a := count(); s != 1 || c != 1 || a != 0 {
		t.Errorf("before it is ready: %d stages, %d checkpoints, %d approvals", s, c, a)
	}
	if len(stage.Approvals()) != 0 || stage.Approve(o.manager, "") == nil {
		t.Error("somebody can approve before they are asked")
	}
	stage.Ready()
	if s, c, a := count(); s != 1 || c != 2 || a != 1 {
		t.Errorf("when it is ready: %d stages, %d checkpoints, %d approvals", s, c, a)
	}
	if err := stage.Approve(o.manager, ""); err != nil {
		t.Error(err)
	}
}

// TestLaterReleaseStage checks that a stage which has not been deployed has approvers,
// and nobody who was asked.
func TestLaterReleaseStage(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.Release(ReleaseOptions{CreatedBy: o.dev})
	r.Stage("Test", ReleaseStageOptions{}).Begin()
	later := r.LaterStage("Production", ReleaseStageOptions{Before: ReleaseApprovals{Approvers: []Identity{o.manager}}})
	d := o.mustClients(r.stages[0].Token())
	production := func() (approvals, deployments, asked int) {
		got := (*d.readRelease(t, r).Environments)[1]
		return len(*got.PreDeployApprovals), len(*got.DeploySteps), len(*got.PreApprovalsSnapshot.Approvals)
	}
	if a, n, asked := production(); a != 0 || n != 0 || asked != 1 {
		t.Errorf("before it is deployed: %d approvals, %d deployments, %d approvers", a, n, asked)
	}
	later.Deploy(o.dev)
	if a, n, _ := production(); a != 1 || n != 1 {
		t.Errorf("when it is deployed: %d approvals, %d deployments", a, n)
	}
}
