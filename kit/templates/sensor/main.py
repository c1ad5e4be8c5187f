"""[[title]]: tells when a directory holds more files than it should."""

import os

import stavily


@stavily.sensor(interval=60)
def [[function]](config, emit, state, log):
    """Emit files.many once when there are more than config.limit files, files.ok once when there are not."""
    count = files_in(config.directory)
    log.debug("%s holds %d files", config.directory, count)
    many = count > config.limit
    if many == state.get("many", False):
        return
    data = {"directory": config.directory, "files": count, "limit": config.limit}
    if many:
        emit("files.many", data=data, severity="high", key=config.directory)
    else:
        emit("files.ok", data=data, severity="low", key=config.directory)
    state["many"] = many  # after the event: what could not be emitted is tried again at the next look


def files_in(directory):
    """How many files there are directly in `directory`."""
    try:
        with os.scandir(directory) as entries:
            return sum(entry.is_file(follow_symlinks=False) for entry in entries)
    except FileNotFoundError as error:
        raise stavily.Failed("{} is not there: set `directory` to one that is".format(directory)) from error


if __name__ == "__main__":
    stavily.run()
