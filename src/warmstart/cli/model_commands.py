"""Model commands: which commands use a trained model? Refit, export, push, serve and chat."""

from collections.abc import Callable

from warmstart.cli import option_types
from warmstart.errors import UsageError

# Lazily imported below, as in `app`: rich, pyarrow, torch, transformers.


def commands_of_a_model() -> dict[str, Callable[..., None]]:
    """By name, in the order of the help."""
    return {"refit": _refit, "export": _export, "push": _push, "serve": _serve, "chat": _chat}


def _refit(
    folder: option_types.Folder,
    all_: option_types.AllRows = False,
    model: option_types.Code = None,
    quiet: option_types.Quiet = False,
    json_: option_types.Json = False,
) -> None:
    """Train the winner again, on validation rows too.

    Its settings stay the same. The scores in the report remain those of the model before.
    """
    from dataclasses import replace

    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.study.progress import run_with_progress

    request = api.resumable(folder, model)
    if request.command not in ("compare", "advise"):
        raise UsageError(f"{folder} is not a study.", "name the folder of a comparison")
    begun = api.restart(replace(request, refit="all" if all_ else "validation"), folder)
    print_results.show_study(run_with_progress(api.compare_steps(begun), quiet), json_)


def _export(
    folder: option_types.Folder,
    to: option_types.ExportFormat,
    out: option_types.Out,
    data: option_types.ScoredRows = None,
    int8: option_types.Int8 = False,
    model: option_types.Code = None,
    json_: option_types.Json = False,
) -> None:
    """Export a model for other tools.

    The export is kept only if it scores the same on the test rows: within 0.1 % of the metric, with --int8 within 1 %.
    """
    from dataclasses import asdict

    from warmstart import api
    from warmstart.cli import print_results

    done = api.export(folder, to, out, data=data or None, int8=int8, code=model)
    if json_:
        return print_results.print_json(asdict(done) | {"folder": str(done.folder), "drift": done.drift})
    rows = f"{done.rows:,} {'rows that it was trained on' if done.learned else 'test rows'}"
    print_results.print_line(
        f"wrote {out}: {done.metric} {done.after:.5g} on {rows} ({done.before:.5g} before export); "
        f"how to use it: {out / 'README.md'}"
    )


def _push(
    folder: option_types.ExportFolder,
    repository: option_types.Repository,
    public: option_types.Public = False,
    dry_run: option_types.DryRun = False,
) -> None:
    """Upload an export to the Hugging Face Hub.

    Its model card goes with it. The repository is private unless you pass --public. No other command uploads anything.
    """
    from warmstart.cli import print_results
    from warmstart.inference.export.push import check_export, push_export

    if dry_run:
        files = check_export(folder)
        return print_results.print_line(
            "\n".join(["would upload:", *(str(file.relative_to(folder)) for file in sorted(files))])
        )
    done = push_export(folder, repository, private=not public)
    print_results.print_line(f"uploaded {done.files} files to {done.url} ({'private' if done.private else 'public'})")


def _serve(
    folder: option_types.Folder,
    host: option_types.Host = "127.0.0.1",
    port: option_types.Port = 8000,
    token_file: option_types.TokenFile = None,
    name: option_types.HostNames = None,
    rows: option_types.MostRows = 1000,
    seconds: option_types.Timeout = 60,
    model: option_types.Code = None,
) -> None:
    """Serve a model over HTTP.

    There are predictions, health, metrics and a page to try the model. POST a row or a list of rows as JSON to
    /predict. A model that generates text also serves OpenAI clients at /v1.
    """
    from warmstart import api
    from warmstart.inference.serve import serve
    from warmstart.inference.serve.limits import Limits
    from warmstart.runtime.device import on_one_thread
    from warmstart.study.progress import print_status

    serve.require_packages()
    token = serve.read_token(token_file)
    hosts = serve.hosts_for(host, name or ())
    with serve.listen(host, port) as listening:
        with on_one_thread():  # another thread predicts
            trained = api.load(folder, code=model)
        limits = Limits(rows=rows, seconds=seconds)
        server = serve.create_app(trained, limits=limits, token=token, hosts=hosts)
        if token is None and not serve.is_loopback(host):
            print_status("warning: anyone who can reach this address can use the model; --token-file requires a token.")
        where = f"[{host}]" if ":" in host else host
        port = listening.getsockname()[1]
        print_status(f"serving {folder} at http://{where}:{port}{'' if token else '/ (open it to try the model)'}")
        serve.run_server(server, listening)


def _chat(
    folder: option_types.Folder,
    system: option_types.System = None,
    temperature: option_types.Temperature = 0.0,
    top_p: option_types.TopP = 1.0,
    most: option_types.MaxTokens = 256,
    seed: option_types.SamplingSeed = 0,
) -> None:
    """Chat with a model that generates text.

    Each line is a turn. /new starts over, /quit or Ctrl-D ends the chat. A model trained to summarize, translate or
    describe does that with each line; a language model (causal-lm) continues it.
    """
    from warmstart import api
    from warmstart.cli import print_results
    from warmstart.inference.chat import chat_with, converse

    talk = chat_with(api.load(folder), system, temperature=temperature, top_p=top_p, most=most, seed=seed)
    converse(talk, print_results.typed_lines(talk.how))
