package deployments

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func compose(t *testing.T, file string, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithName("stavily"), cli.WithEnv(env), cli.WithDefaultProfiles())
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// R011, R136 to R143, F32, F33: what the compose file at the root says.
func TestComposeFile(t *testing.T) {
	t.Setenv("HOME", "/home/u") // where ~ leads
	project := compose(t, "../../docker-compose.yml")
	if len(project.Services) != 2 {
		t.Errorf("services %v, want the two agents", project.ServiceNames())
	}
	bases := map[string]bool{}
	for name, s := range project.Services {
		if s.User != "1000:1000" || s.NetworkMode != "host" || s.Restart != "unless-stopped" || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged || len(s.CapAdd) > 0 {
			t.Errorf("%s: user %q, network %q, restart %q, security %q", name, s.User, s.NetworkMode, s.Restart, s.SecurityOpt)
		}
		if s.Image != "stavily/"+name+":latest" || s.Build.Target != name || s.ContainerName != "stavily-"+strings.TrimSuffix(name, "-agent") {
			t.Errorf("%s: image %s of target %s as %s", name, s.Image, s.Build.Target, s.ContainerName)
		}
		if s.Logging.Driver != "json-file" || s.Logging.Options["max-size"] != "100m" || s.Logging.Options["max-file"] != "5" {
			t.Errorf("%s: logs go to %+v", name, s.Logging)
		}
		for _, v := range s.Volumes {
			if strings.Contains(v.Source, "docker.sock") {
				t.Errorf("%s is given the engine, which is as good as root", name)
			}
			if strings.HasPrefix(v.Target, "/host/") != v.ReadOnly {
				t.Errorf("%s: %s is mounted at %s, read-only: %v", name, v.Source, v.Target, v.ReadOnly)
			}
			if base := filepath.Base(v.Target); strings.HasPrefix(base, "agent-") {
				if v.Source != "/home/u/"+base || bases[base] {
					t.Errorf("%s: its directory %s is %s", name, v.Target, v.Source)
				}
				bases[base] = true
			}
		}
	}
	if len(bases) != 2 {
		t.Errorf("directories %v, want one of each agent", bases)
	}
	for _, at := range []string{"/host/var/log", "/host/proc", "/host/sys", "/host/etc"} {
		if !slices.ContainsFunc(project.Services["sensor-agent"].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == at }) {
			t.Errorf("the sensor agent sees no %s", at)
		}
	}
	other := compose(t, "../../docker-compose.yml", "STAVILY_HOME=/opt", "STAVILY_SENSOR_ID=web-01")
	if v := other.Services["sensor-agent"].Volumes[0]; v.Source != "/opt/agent-web-01" || v.Target != "/app/agent-web-01" {
		t.Errorf("another id and home: %s at %s", v.Source, v.Target)
	}
}

// R012: the development set-up refers to files and targets that are there.
func TestComposeFileForDevelopment(t *testing.T) {
	project := compose(t, "../../deployments/docker/docker-compose.dev.yml")
	targets := stages(t)
	for name, s := range project.Services {
		if s.Build != nil && !slices.Contains(targets, s.Build.Target) {
			t.Errorf("%s is built of target %s, and there are %q", name, s.Build.Target, targets)
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
	}
	for _, agent := range []string{"sensor-agent", "action-agent"} {
		if got := project.Services[agent].DependsOn["setup"].Condition; got != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s starts when setup is %q", agent, got)
		}
	}
}

// The check of compose files can fail.
func TestComposeIsStrict(t *testing.T) {
	file := filepath.Join(t.TempDir(), "docker-compose.yml")
	if err := os.WriteFile(file, []byte("services: {a: {image: x, volums: []}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{file}, cli.WithName("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := options.LoadProject(context.Background()); err == nil {
		t.Error("a key that compose does not know was taken")
	}
}
