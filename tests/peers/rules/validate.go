// Replaces gitleaks' validate.go: prints each rule's examples as JSON lines instead of checking them. An example
// of something harmless is left out if another of gitleaks' rules finds a secret in it.

package utils

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/zricethezav/gitleaks/v8/cmd/generate/config/base"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
)

type example struct {
	Rule    string   `json:"rule"`
	Text    string   `json:"text"`
	Secrets []string `json:"secrets"`
}

var out = json.NewEncoder(os.Stdout)

var everyRule = func() *detect.Detector {
	detector, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		panic(err)
	}
	return detector
}()

func secretsOf(detector *detect.Detector, fragment detect.Fragment) []string {
	secrets := []string{}
	for _, finding := range detector.Detect(fragment) {
		secrets = append(secrets, finding.Secret)
	}
	return secrets
}

func Validate(rule config.Rule, truePositives []string, falsePositives []string) *config.Rule {
	paths := func(texts []string) map[string]string {
		pairs := map[string]string{}
		for _, text := range texts {
			pairs["\x00"+text] = text
		}
		return pairs
	}
	return ValidateWithPaths(rule, paths(truePositives), paths(falsePositives))
}

func ValidateWithPaths(rule config.Rule, truePositives map[string]string, falsePositives map[string]string) *config.Rule {
	r := &rule
	keywords := map[string]struct{}{}
	for at, keyword := range r.Keywords {
		r.Keywords[at] = strings.ToLower(keyword)
		keywords[r.Keywords[at]] = struct{}{}
	}
	cfg := base.CreateGlobalConfig()
	cfg.Rules = map[string]config.Rule{r.RuleID: *r}
	cfg.Keywords = keywords
	own := detect.NewDetector(cfg)
	emit := func(path, text string, isSecret bool) {
		fragment := detect.Fragment{Raw: text}
		if !strings.HasPrefix(path, "\x00") {
			fragment.FilePath = path
		}
		secrets := []string{}
		if isSecret {
			secrets = secretsOf(own, fragment)
		}
		if isSecret == (len(secrets) > 0) && (isSecret || len(secretsOf(everyRule, fragment)) == 0) {
			_ = out.Encode(example{r.RuleID, text, secrets})
		}
	}
	for path, text := range truePositives {
		emit(path, text, true)
	}
	for path, text := range falsePositives {
		// in another file, a secret is no less one
		if strings.HasPrefix(path, "\x00") {
			emit(path, text, false)
		}
	}
	return r
}
