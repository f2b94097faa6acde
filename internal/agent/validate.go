package agent

import (
	"fmt"
	"strings"
)

// approvalRules are the inputs that speak of an approval; beside a verify of a
// seal they are misuse, because an empty variable for the targets must not
// turn a gate into a nod.
var approvalRules = []string{
	"environment", "approvalStage", "approval", "minApprovers", "requesterCanApprove", "authorCanApprove",
	"approvers", "approvalMaxAge", "commentPattern", "approvalCode", "sealed",
}

// validate checks what the contract demands of the inputs together, as far as
// the configuration alone can tell.
func (c *Config) validate(env map[string]string, wrong *Misuse) {
	if c.InPipeline {
		for _, name := range []string{"GODEBUG", "GOTRACEBACK"} {
			if _, set := env[name]; set {
				wrong.add(name, name+" is set: it can print tokens into the log.", "Remove it from the step's env: and from the pipeline's and agent's variables.")
			}
		}
	}
	if c.Action == "" {
		if !told(wrong, "action") && !told(wrong, "arguments") {
			wrong.add("action", "No action is given.", fmt.Sprintf("It is one of %s.", strings.Join(Actions, ", ")))
		}
		return
	}
	if c.Action == Init {
		return
	}
	if c.Action == Check {
		if c.FlowFile == "" {
			wrong.add("flowFile", "check needs a flow file.", "Name it: acrpromote check --flowFile PATH.")
		}
		c.notTaken(wrong)
		return
	}
	c.checkFlow(wrong)
	if !c.Set() {
		if c.Source == "" && !told(wrong, "source") {
			wrong.add("source", fmt.Sprintf("%s needs a source.", c.Action), "Name the image in `source`: host/repository:tag or host/repository@sha256:… .")
		}
		if len(c.Targets) == 0 && c.FlowFile == "" && (c.Action == Promote || c.Action == InvertedPush || c.Action == Audit) && !told(wrong, "targets") {
			wrong.add("targets", fmt.Sprintf("%s needs at least one target.", c.Action), "Name it in `targets`: host, host/repository or host/repository:tag.")
		}
	}
	c.notTaken(wrong)
	c.checkVerify(wrong)
	c.checkApproval(wrong)
	if c.Action == Seal && c.Lock == "none" {
		wrong.add("lock", "seal with lock none would seal nothing.", "Leave `lock` empty, or say tag or image.")
	}
	if name, ok := strings.CutPrefix(strings.ToLower(c.Environment), "endpoint:"); ok && strings.TrimSpace(name) == "" {
		wrong.add("environment", "environment says endpoint: and names no service connection.", "Write endpoint:NAME.")
	}
	if c.PostDeployment.Value && !c.Claims.Classic() && c.Action != Seal && c.Action != Audit {
		c.warn("postDeployment is ignored: only classic releases have post-deployment approvals.")
	}
}

// notTaken tells of inputs that the action has no use for. A value equal to
// the default is no wish: an agent sends defaults for every action.
func (c *Config) notTaken(wrong *Misuse) {
	for _, in := range Inputs {
		value := c.given[in.flagKey()]
		if in.Takes(c.Action) || value == "" || strings.EqualFold(value, in.Default) {
			continue
		}
		if in.Name == "moveTag" {
			wrong.add("moveTag", fmt.Sprintf("%s never moves a tag.", c.Action), "moveTag belongs to promote; leave it out.")
			continue
		}
		c.warn(fmt.Sprintf("%s is ignored: %s does not take it.", in.Name, c.Action))
	}
	if c.Action == Verify && c.MoveTag.Value && c.Subject() != Promote {
		wrong.add("moveTag", fmt.Sprintf("moveTag is given, and these inputs describe %s, which never moves a tag.", c.Subject()),
			"moveTag belongs to a promotion inside one registry; leave it out.")
	}
}

// Set tells that a set of images is named, and not one.
func (c *Config) Set() bool { return len(c.Images) > 0 || c.ImagesFrom != "" }

// checkFlow: a set takes its registries from a flow, and a flow from a file.
func (c *Config) checkFlow(wrong *Misuse) {
	if c.Flow != "" && c.FlowFile == "" {
		wrong.add("flow", "flow is given, and no flow file.", "Name the file in `flowFile`.")
	}
	if !c.Set() {
		return
	}
	if c.FlowFile == "" || c.Flow == "" {
		wrong.add("images", "images and imagesFrom take their registries from a flow.", "Name the file in `flowFile` and the flow in `flow`.")
	}
	if c.Source != "" {
		wrong.add("source", "source is given beside images or imagesFrom.", "Name one image in `source`, or a set in `images` or `imagesFrom`.")
	}
	if len(c.Targets) > 0 {
		wrong.add("targets", "targets are given beside images or imagesFrom, which go to all targets of the flow.", "Leave `targets` out, or name one image in `source`.")
	}
	if c.Digest != "" {
		wrong.add("digest", "digest is given beside images or imagesFrom, and a set has no one tag.", "Name the digests in `images`: repository@sha256:… .")
	}
	if len(c.Images) > 0 && c.ImagesFrom != "" {
		wrong.add("imagesFrom", "images and imagesFrom are both given.", "Name the set in one of them.")
	}
}

func (c *Config) checkVerify(wrong *Misuse) {
	// With a set the flow has the targets.
	if c.Set() {
		return
	}
	if c.Action != Verify || len(c.Targets) > 0 || told(wrong, "targets") {
		return
	}
	var beside []string
	for _, name := range approvalRules {
		if c.given[(Input{Name: name}).Key()] != "" {
			beside = append(beside, name)
		}
	}
	if c.PostDeployment.Value {
		beside = append(beside, "postDeployment")
	}
	if len(beside) > 0 {
		wrong.add("targets", fmt.Sprintf("verify without targets judges a seal, which takes no approval; yet %s is given.", strings.Join(beside, ", ")),
			"Name the targets (is a variable empty?), or leave the rules out.")
	}
}

func (c *Config) checkApproval(wrong *Misuse) {
	switch c.Approval {
	case "automated":
		if c.FlowFile == "" {
			wrong.add("approval", "approval automated needs a flow that names the checks.", "Name the flow file and the flow, or say manual.")
		}
		return
	case "none":
		if c.FlowFile != "" {
			// The flow says whether it takes an approval; no input softens that.
			return
		}
		if c.InPipeline {
			wrong.add("approval", "approval none is no choice in a pipeline: only a flow may permit it.", "Leave `approval` empty and name the environment whose approval counts.")
			return
		}
		if c.InRun {
			wrong.add("approval", "--approval none is no choice inside a run (TF_BUILD or SYSTEM_COLLECTIONURI is set).", "Use the task, which reads the run's approval.")
			return
		}
		c.checkUnapproved(wrong)
		return
	}
	if c.Sealed.Given && !c.Sealed.Value && c.Subject() == InvertedPush {
		c.warn("sealed false is not obeyed: an inverted push takes a sealed source, and no input softens that.")
	}
}

// checkUnapproved refuses rules that cannot be judged where no approval is
// asked for, instead of ignoring them.
func (c *Config) checkUnapproved(wrong *Misuse) {
	var rules []string
	for name, demanded := range map[string]bool{
		"minApprovers": c.MinApprovers.Given, "approvers": len(c.Approvers) > 0, "approvalMaxAge": c.ApprovalMaxAge.Given,
		"commentPattern": c.CommentPattern.Regexp != nil, "approvalCode": c.ApprovalCode.Value, "sealed": c.Sealed.Value,
		"authorCanApprove": c.AuthorCanApprove.Given && !c.AuthorCanApprove.Value, "environment": c.Environment != "", "approvalStage": c.ApprovalStage != "",
	} {
		if in, _ := inputNamed(name); demanded && in.Takes(c.Action) {
			rules = append(rules, name)
		}
	}
	if len(rules) > 0 {
		sortByTable(rules)
		wrong.add("approval", fmt.Sprintf("--approval none asks for no approval; yet %s is given.", strings.Join(rules, ", ")), "Leave one or the other out.")
	}
}

func sortByTable(names []string) {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	names = names[:0]
	for _, in := range Inputs {
		if want[in.Name] {
			names = append(names, in.Name)
		}
	}
}

func told(wrong *Misuse, subject string) bool {
	for _, p := range wrong.Problems {
		if strings.TrimPrefix(p.Subject, "--") == subject {
			return true
		}
	}
	return false
}
