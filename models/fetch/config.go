package fetch

import (
	"context"
	"net/url"
	"os"
	"path"
	"strings"

	"sdworker/fault"
	"sdworker/models"
)

// maxConfig bounds the config of a checkpoint; the usual ones have two kilobytes.
const maxConfig = 1 << 20

// pullConfig fetches the config that lies beside a checkpoint at its source,
// NAME.yaml, and gives it the name of the fetched file. It may say that the
// checkpoint predicts v. Most checkpoints have none, and servers say so in many
// ways, so that a refusal does not fail the pull. A config that is there already
// stays.
func (f *Fetcher) pullConfig(ctx context.Context, src Source, checkpoint string, force bool) error {
	u, err := url.Parse(src.URL)
	if err != nil {
		return nil //nolint:nilerr // no address, no config beside it
	}
	ext := path.Ext(u.Path)
	dest := models.ConfigName(checkpoint)
	if _, err := os.Stat(dest); ext == "" || err == nil && !force {
		return nil
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, ext)+".yaml", strings.TrimSuffix(u.EscapedPath(), ext)+".yaml"
	config := Source{URL: u.String(), Name: path.Base(dest), Public: src.Public, token: src.token}
	_, err = f.Fetch(ctx, config, dest, Options{MaxBytes: maxConfig, Force: force, Verify: models.CheckConfig})
	switch {
	case err == nil:
		f.config.Log.Info().Str("file", dest).Msg("the config beside the checkpoint was fetched, too")
	case fault.CodeOf(err) == fault.Canceled:
		return err
	case fault.CodeOf(err) != fault.NotFound && fault.CodeOf(err) != fault.Invalid:
		f.config.Log.Warn().Err(err).Str("file", dest).Msg("whether there is a config beside the checkpoint could not be told")
	}
	return nil
}
