// Package agent is the interface to the Azure Pipelines agent, or to the user at
// a prompt: it reads the configuration from the environment of the task or from
// flags, and writes log lines and logging commands.
//
// No other package reads the environment. Its values are claims: this package
// does not verify them with a server, and does not parse image references.
package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Config is the configuration of the program. Values are trimmed; an empty value
// counts as not given. Defaults that depend on the action are applied by methods.
type Config struct {
	Action              string    `env:"INPUT_ACTION"`
	AzureSubscription   string    `env:"INPUT_AZURESUBSCRIPTION"`
	TargetSubscription  string    `env:"INPUT_TARGETSUBSCRIPTION"`
	RegistryConnections CommaList `env:"INPUT_REGISTRYCONNECTIONS"`
	Source              string    `env:"INPUT_SOURCE"`
	Targets             CommaList `env:"INPUT_TARGETS"`
	FlowFile            string    `env:"INPUT_FLOWFILE"`
	Flow                string    `env:"INPUT_FLOW"`
	Images              List      `env:"INPUT_IMAGES"`
	ImagesFrom          string    `env:"INPUT_IMAGESFROM"`
	Environment         string    `env:"INPUT_ENVIRONMENT"`
	ApprovalStage       string    `env:"INPUT_APPROVALSTAGE"`
	Approval            string    `env:"INPUT_APPROVAL"`
	MinApprovers        Int       `env:"INPUT_MINAPPROVERS"`
	RequesterCanApprove Bool      `env:"INPUT_REQUESTERCANAPPROVE"`
	AuthorCanApprove    Bool      `env:"INPUT_AUTHORCANAPPROVE"`
	Approvers           List      `env:"INPUT_APPROVERS"`
	ApprovalMaxAge      Duration  `env:"INPUT_APPROVALMAXAGE"`
	CommentPattern      Regexp    `env:"INPUT_COMMENTPATTERN"`
	ApprovalCode        CodeKind  `env:"INPUT_APPROVALCODE"`
	Sealed              Bool      `env:"INPUT_SEALED"`
	PostDeployment      Bool      `env:"INPUT_POSTDEPLOYMENT"`
	Digest              string    `env:"INPUT_DIGEST"`
	Lock                string    `env:"INPUT_LOCK"`
	MoveTag             Bool      `env:"INPUT_MOVETAG"`
	Referrers           Bool      `env:"INPUT_REFERRERS"`
	Deep                Bool      `env:"INPUT_DEEP"`
	OnPartial           string    `env:"INPUT_ONPARTIAL"`
	ReceiptKey          string    `env:"INPUT_RECEIPTKEY"`
	ReceiptConnection   string    `env:"INPUT_RECEIPTCONNECTION"`
	ReceiptFormat       string    `env:"INPUT_RECEIPTFORMAT"`
	ReceiptAtSource     Bool      `env:"INPUT_RECEIPTATSOURCE"`
	ReceiptKeys         List      `env:"INPUT_RECEIPTKEYS"`
	Run                 Int       `env:"INPUT_RUN"`
	Before              Int       `env:"INPUT_BEFORE"`
	Reason              string    `env:"INPUT_REASON"`
	Lift                Bool      `env:"INPUT_LIFT"`
	Project             string    `env:"INPUT_PROJECT"`
	Rules               string    `env:"INPUT_RULES"`
	From                string    `env:"INPUT_FROM"`
	Branches            List      `env:"INPUT_BRANCHES"`
	FlowHashes          List      `env:"INPUT_FLOWHASHES"`
	ReceiptMaxAge       Duration  `env:"INPUT_RECEIPTMAXAGE"`
	FailOn              string    `env:"INPUT_FAILON"`
	DryRun              Bool      `env:"INPUT_DRYRUN"`
	Publish             Bool      `env:"INPUT_PUBLISH"`
	PublishTests        Bool      `env:"INPUT_PUBLISHTESTS"`
	ReportFolder        string    `env:"INPUT_REPORTFOLDER"`

	// Flags that are not inputs. INPUT_* variables cannot set them.
	PlainHTTP List   `env:"FLAG_PLAINHTTP"`
	Output    string `env:"FLAG_OUTPUT"`
	// The flags of the action report.
	Formats
	// The flags of the action init.
	Production   string    `env:"FLAG_PRODUCTION"`
	Development  CommaList `env:"FLAG_DEVELOPMENT"`
	MovingTags   CommaList `env:"FLAG_MOVINGTAGS"`
	Repositories CommaList `env:"FLAG_REPOSITORIES"`
	Folder       string    `env:"FLAG_FOLDER"`
	// Operands are the arguments of the actions code and report.
	Operands []string
	// HelpTopic is the action, rule or other topic to show help for. If it is
	// empty, the whole help is shown.
	HelpTopic string
	// Shell is the shell to complete command lines in, one of Shells.
	Shell string

	Claims   Claims
	Terminal Terminal

	given         map[string]string // the valid inputs that were given, by key
	tempDirectory string

	// InPipeline is set if the program runs as a task (INPUT_ACTION is set). The
	// exit code is then 0, and task.complete has the result.
	InPipeline bool
	// InRun is set in a task, and in a script within a run (TF_BUILD or
	// SYSTEM_COLLECTIONURI is set).
	InRun bool
	// UserVariables are the variables by which a user signs in at a prompt with the
	// libraries of Azure (AZURE_* and those of managed identities), by name.
	UserVariables map[string]string
	// Debug is set if requests are logged (System.Debug).
	Debug bool

	// CollectionURL and Token are those of the system connection or, in a script
	// within a run, SYSTEM_COLLECTIONURI and SYSTEM_ACCESSTOKEN. They are empty
	// if there are none.
	CollectionURL string
	Token         Secret

	Proxy Proxy
	TLS   TLS
	// EnvironmentProxy is set if HTTPS_PROXY and similar variables apply. They
	// never do in a pipeline, whose author could set them to impersonate Azure
	// DevOps.
	EnvironmentProxy bool

	Azure      *Connection   // azureSubscription, nil if not given
	Target     *Connection   // targetSubscription, nil if not given
	Registries []*Connection // registryConnections
	Receipts   *Connection   // receiptConnection, nil if not given

	// Suspicious lists the variables that are set and that could run code in the
	// step, or change whom it trusts: their names, sorted.
	Suspicious []string
	// Secrets are the values that the agent gave as secret, and what the run gets
	// in exchange for them: no output shows them. It is never nil after Read.
	Secrets *sanitize.Secrets
	// Warnings has a sentence for each setting that was ignored, and for what is
	// suspicious.
	Warnings []string
}

// Formats are the formats that the action report can write.
type Formats struct {
	HTML     Bool `env:"FLAG_HTML"`
	Markdown Bool `env:"FLAG_MARKDOWN"`
	JUnit    Bool `env:"FLAG_JUNIT"`
	SARIF    Bool `env:"FLAG_SARIF"`
	JSON     Bool `env:"FLAG_JSON"`
}

// Claims is what the environment says about the run, job and stage. These are
// claims, because the pipeline's author can set variables that the run does not
// set itself.
type Claims struct {
	HostType            string `env:"SYSTEM_HOSTTYPE"`
	CollectionURI       string `env:"SYSTEM_COLLECTIONURI"`
	Project             string `env:"SYSTEM_TEAMPROJECT"`
	ProjectID           string `env:"SYSTEM_TEAMPROJECTID"`
	PlanID              string `env:"SYSTEM_PLANID"`
	JobID               string `env:"SYSTEM_JOBID"`
	JobPositionInPhase  Number `env:"SYSTEM_JOBPOSITIONINPHASE"`
	TotalJobsInPhase    Number `env:"SYSTEM_TOTALJOBSINPHASE"`
	ParallelExecution   string `env:"SYSTEM_PARALLELEXECUTIONTYPE"`
	StageID             string `env:"SYSTEM_STAGEID"`
	StageName           string `env:"SYSTEM_STAGENAME"`
	StageAttempt        Number `env:"SYSTEM_STAGEATTEMPT"`
	JobAttempt          Number `env:"SYSTEM_JOBATTEMPT"`
	PhaseName           string `env:"SYSTEM_PHASENAME"` // of a job as it is named in the pipeline
	JobName             string `env:"SYSTEM_JOBNAME"`   // of one of several such jobs
	StepName            string `env:"SYSTEM_TASKINSTANCENAME"`
	OIDCRequestURI      string `env:"SYSTEM_OIDCREQUESTURI"`
	BuildID             Number `env:"BUILD_BUILDID"`
	BuildContainerID    Number `env:"BUILD_CONTAINERID"`
	BuildRequestedForID string `env:"BUILD_REQUESTEDFORID"`
	BuildQueuedByID     string `env:"BUILD_QUEUEDBYID"`
	// The person who started or reran this stage by hand; two names are in use.
	StageRequestedByID  string `env:"BUILD_STAGEREQUESTEDBYID"`
	StageRequestedForID string `env:"BUILD_STAGEREQUESTEDFORID"`

	ReleaseID                Number `env:"RELEASE_RELEASEID"`
	ReleaseEnvironmentID     Number `env:"RELEASE_ENVIRONMENTID"`
	ReleaseEnvironmentName   string `env:"RELEASE_ENVIRONMENTNAME"`
	ReleaseAttempt           Number `env:"RELEASE_ATTEMPTNUMBER"`
	ReleaseDeploymentID      Number `env:"RELEASE_DEPLOYMENTID"`
	ReleaseRequestedForID    string `env:"RELEASE_REQUESTEDFORID"`
	DeploymentRequestedForID string `env:"RELEASE_DEPLOYMENT_REQUESTEDFORID"`
}

// Classic reports whether the job claims to belong to a classic release.
// SYSTEM_HOSTTYPE decides; RELEASE_* variables mean nothing.
func (c Claims) Classic() bool {
	return strings.EqualFold(c.HostType, "release") || strings.EqualFold(c.HostType, "deployment")
}

// Terminal has the variables that describe the terminal.
type Terminal struct {
	NoColor string `env:"NO_COLOR"`
	Term    string `env:"TERM"`
	Columns Number `env:"COLUMNS"` // 0 if unknown
}

// Plain reports whether output should have neither colour nor rewritten lines.
func (t Terminal) Plain() bool { return t.NoColor != "" || t.Term == "dumb" }

// settings are the agent's settings, before it is decided which of them apply.
// Those that do are copied to Config.
type settings struct {
	Debug             string `env:"SYSTEM_DEBUG"`
	TempDirectory     string `env:"AGENT_TEMPDIRECTORY"`
	ProxyURL          string `env:"AGENT_PROXYURL"`
	ProxyUser         string `env:"AGENT_PROXYUSERNAME"`
	ProxyPassword     Secret `env:"SECRET_AGENT_PROXYPASSWORD"`
	ProxyBypass       string `env:"AGENT_PROXYBYPASSLIST"`
	CAInfo            string `env:"AGENT_CAINFO"`
	ClientCert        string `env:"AGENT_CLIENTCERT"`
	ClientKey         string `env:"AGENT_CLIENTCERTKEY"`
	ClientArchive     string `env:"AGENT_CLIENTCERTARCHIVE"`
	ClientPassword    Secret `env:"SECRET_AGENT_CLIENTCERTPASSWORD"`
	SkipCert          string `env:"AGENT_SKIPCERTVALIDATION"`
	Public            string `env:"VSTS_PUBLIC_VARIABLES"`
	Private           string `env:"VSTS_SECRET_VARIABLES"`
	SystemURL         string `env:"ENDPOINT_URL_SYSTEMVSSCONNECTION"`
	SystemToken       Secret `env:"ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN"`
	SystemAuth        Secret `env:"ENDPOINT_AUTH_SYSTEMVSSCONNECTION"`
	ScriptAccessToken Secret `env:"SYSTEM_ACCESSTOKEN"`
}

// Derives reports whether the inputs describe the action to judge: for verify and
// plan.
func (c *Config) Derives() bool { return c.Action == Verify || c.Action == Plan }

// EffectiveAction returns the action whose rules apply: the action itself or, for
// verify and plan without a flow file, the one that the inputs describe. It compares
// hosts only; which registry is more trusted, and what is judged then, is known only
// from a flow file. A plan is never that of a seal, which takes no approval.
func (c *Config) EffectiveAction() string {
	if !c.Derives() || c.FlowFile != "" {
		return c.Action
	}
	if len(c.Targets) == 0 && c.Action == Verify {
		return Seal
	}
	home := hostOf(c.Source)
	for _, t := range c.Targets {
		if hostOf(t) != home {
			return InvertedPush
		}
	}
	return Promote
}

func hostOf(reference string) string {
	host, _, _ := strings.Cut(reference, "/")
	return ref.CanonicalHost(host)
}

// Unapproved reports whether the user waives both approval and seal. Read
// allows that only at a prompt outside any run.
func (c *Config) Unapproved() bool { return c.Approval == "none" && c.FlowFile == "" }

// ReadOnly reports whether nothing may be written, because of the action or
// because of a dry run.
func (c *Config) ReadOnly() bool {
	return c.Derives() || c.Action == Audit || slices.Contains(receiptActions, c.Action) || c.DryRun.Value
}

// WholeFlow reports whether an audit is of all that a flow covers: the inputs name a
// flow, and neither an image nor a set.
func (c *Config) WholeFlow() bool {
	return c.Action == Audit && c.FlowFile != "" && c.Flow != "" && !c.HasSet() && c.Source == "" && len(c.Targets) == 0 && c.Digest == ""
}

// JSON reports whether result.json is written to standard output.
func (c *Config) JSON() bool { return c.Output == "json" }

// ReportPath returns the folder for result.json and the summary: reportFolder
// if set, otherwise the agent's temporary folder in a pipeline, and "" at a
// prompt.
func (c *Config) ReportPath() string {
	switch {
	case c.ReportFolder != "":
		return c.ReportFolder
	case !c.InPipeline:
		return ""
	}
	return c.TempPath()
}

// ReportName returns a name for the step's report, without an ending: no other step
// of the run has the same action, stage, job and name. It is made of claims, and has
// only characters that every file system takes.
func (c *Config) ReportName() string {
	name, _ := c.reportName()
	return name
}

// reportName returns the name of the report, and what tells it from names that the same
// replacements give: "" if nothing was replaced.
func (c *Config) reportName() (name, exact string) {
	stage := c.Claims.StageName
	if c.Claims.Classic() {
		stage = c.Claims.ReleaseEnvironmentName
	}
	job := c.Claims.JobName
	if (job == "" || job == "__default") && c.Claims.TotalJobsInPhase > 1 {
		job = strconv.Itoa(int(c.Claims.JobPositionInPhase))
	}
	name = "acrpromote"
	all, replaced := "", false
	for _, part := range []string{c.Action, stage, c.Claims.PhaseName, job, c.Claims.StepName} {
		if part == "" || part == "__default" {
			continue
		}
		plain := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
				return r
			}
			return '_'
		}, part[:min(len(part), longestPart)])
		name += "-" + plain
		all += "-" + part
		replaced = replaced || plain != part
	}
	if !replaced {
		return name, ""
	}
	sum := sha256.Sum256([]byte(all))
	return name, "-" + hex.EncodeToString(sum[:4])
}

// PublishedName returns the name under which the run gets the report of the step: no
// other step and no other attempt of the run has it. again is what the name of the
// report's file has after ReportName, because the step ran before on this machine.
func (c *Config) PublishedName(again string) string {
	name, exact := c.reportName()
	attempt, job := c.Claims.StageAttempt, c.Claims.JobAttempt
	if c.Claims.Classic() {
		attempt = c.Claims.ReleaseAttempt
	}
	name += exact + "-" + strconv.Itoa(int(max(attempt, 1)))
	if job > 1 {
		name += "." + strconv.Itoa(int(job))
	}
	return name + again
}

// publishingActions publish their reports as artifacts by default: those that write,
// and that which shows approvers what would be written.
var publishingActions = []string{Seal, Promote, InvertedPush, Plan, Recall}

// PublishesArtifact reports whether the report becomes an artifact of the run. Only a
// build has artifacts of its own: in a classic release, the agent would fail the task.
func (c *Config) PublishesArtifact() bool {
	return strings.EqualFold(c.Claims.HostType, "build") && c.Publish.Or(slices.Contains(publishingActions, c.Action))
}

// longestPart limits the parts of a report's name, in bytes.
const longestPart = 32

// TempPath returns the agent's temporary folder, or the system's.
func (c *Config) TempPath() string {
	if c.tempDirectory != "" {
		return c.tempDirectory
	}
	return os.TempDir()
}

// IsHelp reports whether the action only prints text about the program: help,
// version or completion.
func (c *Config) IsHelp() bool {
	return c.Action == Help || c.Action == Version || c.Action == Completion
}
