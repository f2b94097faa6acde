package agent

import (
	"fmt"
	"slices"
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
func (c *Config) validate(env map[string]string, usage *UsageError) {
	if c.InPipeline {
		for _, name := range []string{"GODEBUG", "GOTRACEBACK"} {
			if _, set := env[name]; set || slices.Contains(withheld(env), name) {
				usage.add(name, name+" is set, which can print tokens to the log", "Remove it from the step's env: and from the variables of the pipeline and the agent.")
			}
		}
	}
	if c.Action == "" {
		if !usage.has("action") && !usage.has("arguments") {
			remedy := fmt.Sprintf("Use one of: %s.", strings.Join(TaskActions, ", "))
			if !c.InPipeline {
				remedy += " acrpromote help shows all actions and flags."
			}
			usage.add("action", "no action given", remedy)
		}
		return
	}
	if c.Action == Init {
		c.checkUnused(usage)
		return
	}
	if c.Action == Check {
		if c.FlowFile == "" && !usage.has("flowFile") {
			remedy := "Run acrpromote check FILE."
			if c.InPipeline {
				remedy = "Set flowFile to the path of the file in the workspace."
			}
			usage.add("flowFile", "check requires a flow file", remedy)
		}
		c.checkUnused(usage)
		return
	}
	if c.Action == Code {
		if len(c.Operands) == 0 && len(usage.Problems) == 0 {
			usage.add("code", "code requires a digest, images or a file", "Run acrpromote code sha256:…, acrpromote code REPOSITORY@sha256:… for each image of a set, or acrpromote code FILE with a result.json of plan.")
		}
		c.checkUnused(usage)
		return
	}
	if c.Action == Report {
		if len(c.Operands) == 0 && len(usage.Problems) == 0 {
			usage.add("report", "report requires a file", "Run acrpromote report RESULT.json, with --junit for example.")
		}
		formats := 0
		for _, wanted := range []Bool{c.HTML, c.Markdown, c.JUnit, c.SARIF, c.Formats.JSON} {
			if wanted.Value {
				formats++
			}
		}
		if formats > 1 {
			usage.add("report", "more than one format is named", "Run report once for each.")
		}
		c.checkUnused(usage)
		return
	}
	if slices.Contains(receiptActions, c.Action) {
		c.checkReceipts(usage)
		return
	}
	if c.Action == Doctor {
		c.checkDoctor(usage)
		return
	}
	if c.Action == Recall {
		c.checkRecall(usage)
		return
	}
	c.checkFlow(usage)
	if !c.HasSet() && !c.WholeFlow() {
		if c.Source == "" && !usage.has("source") && !usage.has("images") && !usage.has("imagesFrom") {
			remedy := "Set source to host/repository:tag or host/repository@sha256:… . Is a variable empty?"
			if c.Action == Audit && (c.FlowFile != "" || c.Flow != "") && len(c.Targets) == 0 {
				remedy += " To audit a whole flow, set only flowFile and flow."
			}
			usage.add("source", fmt.Sprintf("%s requires a source", c.Action), remedy)
		}
		if len(c.Targets) == 0 && c.FlowFile == "" && !usage.has("flowFile") && (c.Action == Promote || c.Action == InvertedPush || c.Action == Plan || c.Action == Audit) && !usage.has("targets") {
			usage.add("targets", fmt.Sprintf("%s requires at least one target", c.Action), "Set targets to host, host/repository or host/repository:tag. Is a variable empty?")
		}
	}
	c.checkUnused(usage)
	c.checkVerify(usage)
	c.checkApproval(usage)
	if c.EffectiveAction() == Seal && c.Lock == "none" {
		usage.add("lock", "lock none is not allowed for seal", "Leave lock empty, or set it to tag or image.")
	}
	c.checkEnvironment(usage)
	if c.PostDeployment.Value && !c.Claims.Classic() && c.Action != Seal && c.Action != Audit {
		c.warn("postDeployment is ignored: only classic releases have post-deployment approvals.")
	}
}

// checkReceipts checks the inputs of an action that reads receipts.
func (c *Config) checkReceipts(usage *UsageError) {
	byRun := c.Action == Trace && (c.Run.Given || usage.has("run"))
	switch {
	case byRun && c.Source != "":
		usage.add("run", "run and source cannot be combined", "Name the repositories of the run's images in targets, and no source.")
	case byRun && len(c.Targets) == 0 && !usage.has("targets"):
		usage.add("targets", "run requires the repositories to look in", "Set targets to host/repository, one per line.")
	case !byRun && c.Source == "" && !usage.has("source"):
		remedy := "Set source to host/repository:tag or host/repository@sha256:… . Is a variable empty?"
		if c.Action == Trace {
			remedy += " To trace all that a run released, set run and targets instead."
		}
		usage.add("source", fmt.Sprintf("%s requires a source", c.Action), remedy)
	}
	if c.Action == VerifyReceipt && len(c.ReceiptKeys) == 0 && !usage.has("receiptKeys") {
		usage.add("receiptKeys", fmt.Sprintf("%s requires at least one key", c.Action), "Set receiptKeys to the path of a PEM file with the public key that signs receipts, or to the URL of that key in Key Vault.")
	}
	c.checkEnvironment(usage)
	c.checkUnused(usage)
}

// checkDoctor checks the inputs of doctor, which names registries or a flow file.
func (c *Config) checkDoctor(usage *UsageError) {
	named := c.FlowFile != "" || usage.has("flowFile")
	switch {
	case named && (c.Source != "" || len(c.Targets) > 0):
		usage.add("source", "source and targets cannot be combined with flowFile, whose registries are all read", "Remove them, or flowFile.")
	case !named && c.Source == "" && !usage.has("source"):
		usage.add("flowFile", "doctor requires a flow file, or registries", "Set flowFile, or source to the PROD registry and targets to the less trusted ones.")
	}
	c.checkUnused(usage)
}

// checkRecall checks the inputs of a recall.
func (c *Config) checkRecall(usage *UsageError) {
	byRun := c.Run.Given || usage.has("run")
	switch {
	case byRun && c.Source != "":
		usage.add("run", "run and source cannot be combined", "Name the repositories of the run's images in targets, and no source.")
	case byRun && len(c.Targets) == 0 && !usage.has("targets"):
		usage.add("targets", "run requires the repositories to look in", "Set targets to host/repository, one per line.")
	case byRun && c.Digest != "":
		usage.add("digest", "run and digest cannot be combined", "Remove one of them.")
	case !byRun && c.Source == "" && !usage.has("source"):
		usage.add("source", "recall requires a source or a run", "Set source to host/repository:tag or host/repository@sha256:… . Is a variable empty?")
	case !byRun && len(c.Targets) == 0 && c.FlowFile == "" && !usage.has("flowFile") && !usage.has("targets"):
		usage.add("targets", "recall requires the repositories that the image was copied to, or a flow file that says so", "Set targets to host or host/repository, one per line, or set flowFile.")
	}
	if c.Reason == "" && !usage.has("reason") {
		usage.add("reason", "recall requires a reason", "Set reason to why the image is recalled, or why that is lifted. Is a variable empty?")
	}
	c.checkFlow(usage)
	c.checkUnused(usage)
	c.checkApproval(usage)
	c.checkEnvironment(usage)
}

func (c *Config) checkEnvironment(usage *UsageError) {
	if name, ok := strings.CutPrefix(strings.ToLower(c.Environment), "endpoint:"); ok && strings.TrimSpace(name) == "" {
		usage.add("environment", "endpoint: does not name a service connection", "Write endpoint:NAME.")
	}
}

// checkUnused reports inputs that the action does not use. A value equal to the
// default is not reported, because the agent sends defaults for every action.
func (c *Config) checkUnused(usage *UsageError) {
	for _, in := range Inputs {
		value := c.given[in.flagKey()]
		if in.UsedBy(c.Action) || value == "" || strings.EqualFold(value, in.Default) {
			continue
		}
		if in.Name == "moveTag" {
			usage.add("moveTag", fmt.Sprintf("%s never moves a tag", c.Action), "Remove moveTag, which is for promote.")
			continue
		}
		c.warn(fmt.Sprintf("%s is ignored: %s does not use it.", in.Name, c.Action))
	}
	if effective := c.EffectiveAction(); c.Derives() && c.MoveTag.Value && effective != Promote && effective != c.Action {
		usage.add("moveTag", fmt.Sprintf("moveTag is set, but the inputs describe %s, which never moves a tag", effective),
			"Remove moveTag, which is for a promotion within one registry.")
	}
}

// HasSet reports whether the inputs name a set of images instead of one.
func (c *Config) HasSet() bool { return len(c.Images) > 0 || c.ImagesFrom != "" }

// checkFlow checks that a set has a flow, and a flow has a file.
func (c *Config) checkFlow(usage *UsageError) {
	named := c.FlowFile != "" || usage.has("flowFile")
	if c.Flow != "" && !named {
		usage.add("flow", "flow requires flowFile", "Set flowFile.")
	}
	if !c.HasSet() {
		return
	}
	if !named || c.Flow == "" && !usage.has("flow") {
		usage.add("images", "images and imagesFrom require flowFile and flow", "Set both.")
	}
	if c.Source != "" {
		usage.add("source", "source cannot be combined with images or imagesFrom", "Name one image in source, or a set in images or imagesFrom.")
	}
	if len(c.Targets) > 0 {
		usage.add("targets", "targets cannot be combined with images or imagesFrom, which go to all targets of the flow", "Remove targets, or name one image in source.")
	}
	if c.Digest != "" {
		usage.add("digest", "digest cannot be combined with images or imagesFrom", "Write the digests in images: repository@sha256:… .")
	}
	if len(c.Images) > 0 && c.ImagesFrom != "" {
		usage.add("imagesFrom", "images and imagesFrom cannot be combined", "Name the set in one of them.")
	}
}

// checkVerify checks that a verify of a seal has no rules for an approval. With a
// flow file, verify never checks a seal: the flow has the targets.
func (c *Config) checkVerify(usage *UsageError) {
	if c.FlowFile != "" || usage.has("flowFile") || c.HasSet() {
		return
	}
	if c.Action != Verify || len(c.Targets) > 0 || usage.has("targets") {
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
		usage.add("targets", fmt.Sprintf("verify without targets checks a seal, which takes no approval, but rules for one are set: %s", strings.Join(rules, ", ")),
			"Set targets (is a variable empty?), or remove the rules.")
	}
}

// checkApproval checks the kind of approval.
func (c *Config) checkApproval(usage *UsageError) {
	switch c.Approval {
	case "automated":
		if c.FlowFile == "" && !usage.has("flowFile") {
			usage.add("approval", "approval automated requires a flow that names the checks", "Set flowFile and flow, or use manual.")
		}
		return
	case "none":
		if c.FlowFile != "" || usage.has("flowFile") {
			// The flow decides whether it requires an approval. No input relaxes that.
			return
		}
		if c.InPipeline {
			usage.add("approval", "approval none is not allowed in a pipeline without a flow", "Leave approval empty, and name the environment whose approval counts.")
			return
		}
		if c.InRun {
			usage.add("approval", "--approval none is not allowed inside a run (TF_BUILD or SYSTEM_COLLECTIONURI is set)", "Use the task, which reads the run's approval.")
			return
		}
		c.checkUnapproved(usage)
		return
	}
	if c.FlowFile == "" && c.Sealed.Given && !c.Sealed.Value && c.EffectiveAction() == InvertedPush {
		c.warn("sealed: false is ignored. An inverted push requires a sealed source, and no input relaxes that.")
	}
}

// checkUnapproved reports rules for an approval that is not asked for, instead
// of ignoring them.
func (c *Config) checkUnapproved(usage *UsageError) {
	var rules []string
	for name, set := range map[string]bool{
		"minApprovers": c.MinApprovers.Given, "approvers": len(c.Approvers) > 0, "approvalMaxAge": c.ApprovalMaxAge.Given,
		"commentPattern": c.CommentPattern.Regexp != nil, "approvalCode": c.ApprovalCode.Value != "", "sealed": c.Sealed.Value,
		"authorCanApprove": c.AuthorCanApprove.Given && !c.AuthorCanApprove.Value, "environment": c.Environment != "", "approvalStage": c.ApprovalStage != "",
	} {
		if in, _ := inputNamed(name); set && in.UsedBy(c.Action) {
			rules = append(rules, name)
		}
	}
	if len(rules) > 0 {
		sortByTable(rules)
		usage.add("approval", fmt.Sprintf("--approval none asks for no approval, but rules for one are set: %s", strings.Join(rules, ", ")), "Remove --approval none, or the rules.")
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

// has reports whether there is a problem with a subject.
func (e *UsageError) has(subject string) bool {
	for _, p := range e.Problems {
		if strings.TrimPrefix(p.Subject, "--") == subject {
			return true
		}
	}
	return false
}
