package agent

import (
	"fmt"
	"strings"
)

// approvalRules has the inputs that are about an approval. With a verify of a
// seal they are usage errors: otherwise an empty variable for the targets would
// let verify succeed without checking the approval.
var approvalRules = []string{
	"environment", "approvalStage", "approval", "minApprovers", "requesterCanApprove", "authorCanApprove",
	"approvers", "approvalMaxAge", "commentPattern", "approvalCode", "sealed",
}

// validate checks the inputs in combination.
func (c *Config) validate(env map[string]string, wrong *Misuse) {
	if c.InPipeline {
		for _, name := range []string{"GODEBUG", "GOTRACEBACK"} {
			if _, set := env[name]; set {
				wrong.add(name, name+" is set, which can print tokens to the log", "Remove it from the step's env: and from the variables of the pipeline and the agent.")
			}
		}
	}
	if c.Action == "" {
		if !told(wrong, "action") && !told(wrong, "arguments") {
			wrong.add("action", "no action given", fmt.Sprintf("Use one of: %s.", strings.Join(Actions, ", ")))
		}
		return
	}
	if c.Action == Init {
		return
	}
	if c.Action == Check {
		if c.FlowFile == "" {
			wrong.add("flowFile", "check requires a flow file", "Run acrpromote check --flowFile PATH.")
		}
		c.notTaken(wrong)
		return
	}
	c.checkFlow(wrong)
	if !c.Set() {
		if c.Source == "" && !told(wrong, "source") {
			wrong.add("source", fmt.Sprintf("%s requires a source", c.Action), "Set source to host/repository:tag or host/repository@sha256:… .")
		}
		if len(c.Targets) == 0 && c.FlowFile == "" && (c.Action == Promote || c.Action == InvertedPush || c.Action == Audit) && !told(wrong, "targets") {
			wrong.add("targets", fmt.Sprintf("%s requires at least one target", c.Action), "Set targets to host, host/repository or host/repository:tag.")
		}
	}
	c.notTaken(wrong)
	c.checkVerify(wrong)
	c.checkApproval(wrong)
	if c.Action == Seal && c.Lock == "none" {
		wrong.add("lock", "lock none is not allowed for seal", "Leave lock empty, or set it to tag or image.")
	}
	if name, ok := strings.CutPrefix(strings.ToLower(c.Environment), "endpoint:"); ok && strings.TrimSpace(name) == "" {
		wrong.add("environment", "endpoint: does not name a service connection", "Write endpoint:NAME.")
	}
	if c.PostDeployment.Value && !c.Claims.Classic() && c.Action != Seal && c.Action != Audit {
		c.warn("postDeployment is ignored: only classic releases have post-deployment approvals.")
	}
}

// notTaken reports inputs that the action does not use. A value equal to the
// default is not reported, because the agent sends defaults for every action.
func (c *Config) notTaken(wrong *Misuse) {
	for _, in := range Inputs {
		value := c.given[in.flagKey()]
		if in.Takes(c.Action) || value == "" || strings.EqualFold(value, in.Default) {
			continue
		}
		if in.Name == "moveTag" {
			wrong.add("moveTag", fmt.Sprintf("%s never moves a tag", c.Action), "Remove moveTag, which is for promote.")
			continue
		}
		c.warn(fmt.Sprintf("%s is ignored: %s does not use it.", in.Name, c.Action))
	}
	if c.Action == Verify && c.MoveTag.Value && c.Subject() != Promote {
		wrong.add("moveTag", fmt.Sprintf("moveTag is set, but the inputs describe %s, which never moves a tag", c.Subject()),
			"Remove moveTag, which is for a promotion within one registry.")
	}
}

// Set reports whether the inputs name a set of images instead of one.
func (c *Config) Set() bool { return len(c.Images) > 0 || c.ImagesFrom != "" }

// checkFlow checks that a set has a flow, and a flow has a file.
func (c *Config) checkFlow(wrong *Misuse) {
	if c.Flow != "" && c.FlowFile == "" {
		wrong.add("flow", "flow requires flowFile", "Set flowFile.")
	}
	if !c.Set() {
		return
	}
	if c.FlowFile == "" || c.Flow == "" {
		wrong.add("images", "images and imagesFrom require flowFile and flow", "Set both.")
	}
	if c.Source != "" {
		wrong.add("source", "source cannot be combined with images or imagesFrom", "Name one image in source, or a set in images or imagesFrom.")
	}
	if len(c.Targets) > 0 {
		wrong.add("targets", "targets cannot be combined with images or imagesFrom, which go to all targets of the flow", "Remove targets, or name one image in source.")
	}
	if c.Digest != "" {
		wrong.add("digest", "digest cannot be combined with images or imagesFrom", "Write the digests in images: repository@sha256:… .")
	}
	if len(c.Images) > 0 && c.ImagesFrom != "" {
		wrong.add("imagesFrom", "images and imagesFrom cannot be combined", "Name the set in one of them.")
	}
}

// checkVerify checks that a verify of a seal has no rules for an approval.
func (c *Config) checkVerify(wrong *Misuse) {
	// The flow has the targets of a set.
	if c.Set() {
		return
	}
	if c.Action != Verify || len(c.Targets) > 0 || told(wrong, "targets") {
		return
	}
	var rules []string
	for _, name := range approvalRules {
		if c.given[(Input{Name: name}).Key()] != "" {
			rules = append(rules, name)
		}
	}
	if c.PostDeployment.Value {
		rules = append(rules, "postDeployment")
	}
	if len(rules) > 0 {
		wrong.add("targets", fmt.Sprintf("verify without targets checks a seal, which takes no approval, but rules for one are set: %s", strings.Join(rules, ", ")),
			"Set targets (is a variable empty?), or remove the rules.")
	}
}

// checkApproval checks the kind of approval.
func (c *Config) checkApproval(wrong *Misuse) {
	switch c.Approval {
	case "automated":
		if c.FlowFile == "" {
			wrong.add("approval", "approval automated requires a flow that names the checks", "Set flowFile and flow, or use manual.")
		}
		return
	case "none":
		if c.FlowFile != "" {
			// The flow decides whether it requires an approval. No input relaxes that.
			return
		}
		if c.InPipeline {
			wrong.add("approval", "approval none is not allowed in a pipeline without a flow", "Leave approval empty, and name the environment whose approval counts.")
			return
		}
		if c.InRun {
			wrong.add("approval", "--approval none is not allowed inside a run (TF_BUILD or SYSTEM_COLLECTIONURI is set)", "Use the task, which reads the run's approval.")
			return
		}
		c.checkUnapproved(wrong)
		return
	}
	if c.Sealed.Given && !c.Sealed.Value && c.Subject() == InvertedPush {
		c.warn("sealed: false is ignored. An inverted push requires a sealed source, and no input relaxes that.")
	}
}

// checkUnapproved reports rules for an approval that is not asked for, instead
// of ignoring them.
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
		wrong.add("approval", fmt.Sprintf("--approval none asks for no approval, but rules for one are set: %s", strings.Join(rules, ", ")), "Remove --approval none, or the rules.")
	}
}

// sortByTable sorts the names of inputs in the order of Inputs.
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

// told reports whether there is a problem with a subject.
func told(wrong *Misuse, subject string) bool {
	for _, p := range wrong.Problems {
		if strings.TrimPrefix(p.Subject, "--") == subject {
			return true
		}
	}
	return false
}
