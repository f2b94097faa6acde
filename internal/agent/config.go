// Package agent is the border to whoever started the program: it reads the
// configuration from the environment that the agent of Azure Pipelines hands a
// task, or from flags at a prompt, and speaks back in logging commands.
//
// Nothing else reads the environment. What stands there is a claim: nothing is
// checked here against a server, and no image reference is parsed here.
package agent

import (
	"os"
	"strings"

	"acrpromote/internal/ref"
)

// Config is everything that the program was told. Values are trimmed; what is
// empty was not given. Where a default depends on the action, ask the method.
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
	ApprovalCode        Bool      `env:"INPUT_APPROVALCODE"`
	Sealed              Bool      `env:"INPUT_SEALED"`
	PostDeployment      Bool      `env:"INPUT_POSTDEPLOYMENT"`
	Digest              string    `env:"INPUT_DIGEST"`
	Lock                string    `env:"INPUT_LOCK"`
	MoveTag             Bool      `env:"INPUT_MOVETAG"`
	Referrers           Bool      `env:"INPUT_REFERRERS"`
	Deep                Bool      `env:"INPUT_DEEP"`
	OnPartial           string    `env:"INPUT_ONPARTIAL"`
	DryRun              Bool      `env:"INPUT_DRYRUN"`
	ReportFolder        string    `env:"INPUT_REPORTFOLDER"`

	// Flags that are no inputs. FlagPrefix keeps them from being set by INPUT_*.
	PlainHTTP List   `env:"FLAG_PLAINHTTP"`
	Output    string `env:"FLAG_OUTPUT"`
	// Init is what flags say for the action init.
	Production   string `env:"FLAG_PRODUCTION"`
	Development  List   `env:"FLAG_DEVELOPMENT"`
	MovingTags   List   `env:"FLAG_MOVINGTAGS"`
	Repositories List   `env:"FLAG_REPOSITORIES"`
	Branches     List   `env:"FLAG_BRANCHES"`
	Folder       string `env:"FLAG_FOLDER"`
	// HelpTopic is the action that help was asked about; "" is the whole.
	HelpTopic string

	Claims   Claims
	Terminal Terminal

	given         map[string]string // the inputs that were given and can be understood, by key
	tempDirectory string

	// InPipeline: the agent runs this as a task (INPUT_ACTION is set). The exit
	// code is then 0, and task.complete bears the result.
	InPipeline bool
	// InRun: this is a task, or a script within a run (TF_BUILD or
	// SYSTEM_COLLECTIONURI is set).
	InRun bool
	// Debug tells the requests too (System.Debug).
	Debug bool

	// CollectionURL and Token are those of the system connection; at a prompt
	// inside a run SYSTEM_COLLECTIONURI and SYSTEM_ACCESSTOKEN. Empty if absent.
	CollectionURL string
	Token         Secret

	Proxy Proxy
	TLS   TLS
	// EnvironmentProxy: HTTPS_PROXY and its kin may be honoured. Never in a
	// pipeline, where its author could set them and answer for Azure DevOps.
	EnvironmentProxy bool

	Azure      *Connection   // azureSubscription, nil if not given
	Target     *Connection   // targetSubscription, nil if not given
	Registries []*Connection // registryConnections

	// Warnings tell what was ignored, and why.
	Warnings []string
}

// Claims is what the agent says about the run, job and stage: claims, because
// names which a run does not set can be set by the pipeline's author.
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
	OIDCRequestURI      string `env:"SYSTEM_OIDCREQUESTURI"`
	BuildID             Number `env:"BUILD_BUILDID"`
	BuildRequestedForID string `env:"BUILD_REQUESTEDFORID"`
	BuildQueuedByID     string `env:"BUILD_QUEUEDBYID"`
	// Who started or reran this stage by hand; two names are in use.
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

// Classic tells whether the job says that it belongs to a classic release; the
// presence of RELEASE_* means nothing, SYSTEM_HOSTTYPE decides.
func (c Claims) Classic() bool {
	return strings.EqualFold(c.HostType, "release") || strings.EqualFold(c.HostType, "deployment")
}

// Terminal is what the environment says about whoever reads.
type Terminal struct {
	NoColor string `env:"NO_COLOR"`
	Term    string `env:"TERM"`
	Columns Number `env:"COLUMNS"` // 0 = unknown
}

// Plain tells whether colour and moving lines are unwelcome.
func (t Terminal) Plain() bool { return t.NoColor != "" || t.Term == "dumb" }

// settings are the agent's own, before it is judged whether they count. They
// are not kept: what is of use stands in Config.
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

// Subject is the action that is judged: the action itself, or that which
// verify is asked about. It looks at the hosts alone; a target of more trust in
// another registry is told only by a flow.
func (c *Config) Subject() string {
	if c.Action != Verify {
		return c.Action
	}
	if len(c.Targets) == 0 {
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

// Unapproved tells that the user lifts approval and seal together; Read lets
// it through only at a prompt outside any run.
func (c *Config) Unapproved() bool { return c.Approval == "none" && c.FlowFile == "" }

// Quorum is how many distinct persons must have approved.
func (c *Config) Quorum() int { return c.MinApprovers.Or(1) }

// ReadOnly tells that nothing may be written: by the action's nature, or
// because only the plan was asked for.
func (c *Config) ReadOnly() bool {
	return c.Action == Verify || c.Action == Audit || c.DryRun.Value
}

// JSON tells that result.json goes to standard output.
func (c *Config) JSON() bool { return c.Output == "json" }

// ReportPath is the folder for result.json and the summary: reportFolder, in a
// pipeline else the agent's temporary folder, at a prompt else "".
func (c *Config) ReportPath() string {
	switch {
	case c.ReportFolder != "":
		return c.ReportFolder
	case !c.InPipeline:
		return ""
	case c.tempDirectory != "":
		return c.tempDirectory
	}
	return os.TempDir()
}

// IsHelp tells that only words are asked for: help or version.
func (c *Config) IsHelp() bool { return c.Action == Help || c.Action == Version }
