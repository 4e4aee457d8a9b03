/// Makes the one connection that writes wait for the disk at each commit, as PocketBase does not by itself.
onBootstrap((event) => {
  event.next();
  event.app.nonconcurrentDB().newQuery('PRAGMA synchronous = FULL').execute();
});
