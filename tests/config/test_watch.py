"""Changes of files are noticed."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock

from lmgateway.config.watch import Watcher, watched
from tests.config.folder import BASE, FolderTestCase, based


class WatcherTests(FolderTestCase):
    """R-C26 to R-C28 of the reference, and row L16.1: within two seconds."""

    def setUp(self) -> None:
        super().setUp()
        self.write("config.toml", BASE)
        self.clock = Clock()
        self.told: list[float] = []
        self.watcher = Watcher(self.clock, watched(self.load()), self.changed)
        self.watcher.startService()
        self.addCleanup(self.stop)

    def changed(self) -> None:
        """Note when a change was told."""
        self.told.append(self.clock.seconds())

    def stop(self) -> None:
        """Stop, and see that nothing is left."""
        self.watcher.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def assert_noticed(self) -> None:
        """Check that one change is told in time, and only once."""
        before = len(self.told)
        self.pass_time(2)
        self.assertEqual(len(self.told), before + 1)
        self.pass_time(5)
        self.assertEqual(len(self.told), before + 1)

    def test_nothing_is_told_while_nothing_changes(self) -> None:
        """However long that is."""
        self.pass_time(60)
        self.assertEqual(self.told, [])

    def test_R_C26_an_edit_in_place_is_noticed(self) -> None:
        """Even one that keeps the size."""
        self.write("config.toml", BASE + "\n")
        self.assert_noticed()
        self.write("config.toml", BASE + "#")
        self.assert_noticed()

    def test_a_new_file_renamed_over_the_old_one_is_noticed(self) -> None:
        """Even if it has the size and time of the old one."""
        found = self.source.stat()
        new = self.write("new", BASE)
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
        new.rename(self.source)
        self.assert_noticed()

    def test_a_swapped_link_is_noticed(self) -> None:
        """As Kubernetes does it: the file is a link into a folder that is a link."""
        self.watcher.stopService()
        root = self.folder / "mount"
        for version in ("..v1", "..v2"):
            self.write(f"mount/{version}/config.toml", BASE)
        (root / "..data").symlink_to("..v1")
        (root / "config.toml").symlink_to("..data/config.toml")
        self.watcher = Watcher(self.clock, [root / "config.toml"], self.changed)
        self.watcher.startService()
        (root / "..tmp").symlink_to("..v2")
        (root / "..tmp").rename(root / "..data")
        self.assert_noticed()

    def test_R_C28_overlays_and_profiles_are_watched(self) -> None:
        """New ones, changed ones, removed ones; and folders that were not there."""
        for name in ("conf.d/a.toml", "profiles/p.toml"):
            self.write(name, "")
            self.assert_noticed()
            self.write(name, "# changed")
            self.assert_noticed()
            (self.folder / name).unlink()
            self.assert_noticed()

    def test_what_is_no_config_is_not_watched(self) -> None:
        """Other files in the folders."""
        self.write("conf.d/readme.txt", "x")
        self.write("conf.d/.a.toml.swp", "x")
        self.write("other.toml", "x")
        self.pass_time(5)
        self.assertEqual(self.told, [])

    def test_a_configured_profile_folder_is_watched(self) -> None:
        """Instead of the usual one."""
        config = self.load(based('profile_dir = "there"'))
        self.assertEqual(
            watched(config), (self.source, self.folder / "conf.d", self.folder / "there")
        )

    def test_a_file_that_is_being_written_is_waited_for(self) -> None:
        """Until it keeps still; but not for ever."""
        for length in range(3):
            self.write("config.toml", BASE + "#" * (length + 1))
            self.clock.advance(0.5)
            self.assertEqual(len(self.told), 1 if length == 2 else 0)

    def test_a_file_that_goes_and_comes_back_is_noticed(self) -> None:
        """Both times."""
        self.source.rename(self.folder / "away")
        self.assert_noticed()
        (self.folder / "away").rename(self.source)
        self.assert_noticed()

    def test_a_change_during_a_reload_is_not_lost(self) -> None:
        """Watching the same files again does not forget what was seen."""

        def reload() -> None:
            self.changed()
            if len(self.told) == 1:
                self.write("config.toml", BASE + "# second")
            self.watcher.watch(watched(self.load()))

        self.watcher.stopService()
        self.watcher = Watcher(self.clock, watched(self.load()), reload)
        self.watcher.startService()
        self.write("config.toml", BASE + "# first")
        self.pass_time(5)
        self.assertEqual(len(self.told), 2)

    def test_other_files_can_be_watched_instead(self) -> None:
        """What they are then is no change."""
        other = self.write("other.toml", "x")
        self.watcher.watch([other])
        self.write("config.toml", "x")
        self.pass_time(5)
        self.assertEqual(self.told, [])
        self.write("other.toml", "xy")
        self.assert_noticed()

    def test_a_failure_does_not_end_the_watch(self) -> None:
        """It is logged, and the next change is told."""

        def fail() -> None:
            self.changed()
            raise RuntimeError("no")

        self.watcher.stopService()
        self.watcher = Watcher(self.clock, [self.source], fail)
        self.watcher.startService()
        self.write("config.toml", "a")
        self.assert_noticed()
        self.write("config.toml", "ab")
        self.assert_noticed()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_folder_that_cannot_be_read_is_no_reason_to_stop(self) -> None:
        """Nor is a file in the place of a folder."""
        self.write("conf.d", "a file")
        self.assert_noticed()
        self.assertTrue(Path(self.folder / "conf.d").is_file())
