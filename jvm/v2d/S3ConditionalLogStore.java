package v2d;

import io.delta.storage.S3SingleDriverLogStore;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Commits to Delta tables on S3 that exclude each other, whoever makes them: other drivers, or the deltalake library.
 *
 * <p>Delta's own store for S3 looks whether a version is there and then writes it, so that one of two drivers may overwrite
 * the other's commit. Here the store of objects decides: a version is put with If-None-Match, which S3A does from Hadoop 3.4.2
 * on where it is asked. docs/decisions says why this is here; it goes when Delta brings such a store itself.
 */
public class S3ConditionalLogStore extends S3SingleDriverLogStore {

    private static final String CONDITIONAL = "fs.option.create.conditional.overwrite";
    private static final int TRIES = 4;
    private static final long PAUSE_MS = 500;

    public S3ConditionalLogStore(Configuration hadoopConf) {
        super(hadoopConf);
    }

    @Override
    public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration hadoopConf) throws IOException {
        if (overwrite) {
            super.write(path, actions, true, hadoopConf);
            return;
        }
        FileSystem store = path.getFileSystem(hadoopConf);
        ByteArrayOutputStream lines = new ByteArrayOutputStream();
        while (actions.hasNext()) {
            lines.write((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
        }
        byte[] body = lines.toByteArray();
        for (int attempt = 1; ; attempt++) {
            try {
                put(store, path, body);
                return;
            } catch (IOException error) {
                // The answer may have been lost, and the request tried again: what is there tells whose it is.
                byte[] there = read(store, path);
                if (there != null && Arrays.equals(there, body)) {
                    return;
                }
                if (there != null) {
                    throw new FileAlreadyExistsException(path.toString());
                }
                if (attempt == TRIES) {
                    throw error;
                }
            }
            pause(attempt);
        }
    }

    private static void put(FileSystem store, Path path, byte[] body) throws IOException {
        FSDataOutputStreamBuilder<?, ?> builder = store.createFile(path);
        builder.create().overwrite(false).recursive().must(CONDITIONAL, true);
        try (FSDataOutputStream out = (FSDataOutputStream) builder.build()) {
            out.write(body);
        } catch (IllegalArgumentException error) {
            throw new IOException(
                    "Delta commits on S3 that exclude each other need hadoop-aws 3.4.2 or later: " + error.getMessage(), error);
        }
    }

    /** What is there; null where nothing is. */
    private static byte[] read(FileSystem store, Path path) throws IOException {
        try (FSDataInputStream in = store.open(path)) {
            return in.readAllBytes();
        } catch (FileNotFoundException error) {
            return null;
        }
    }

    private static void pause(int attempt) throws IOException {
        try {
            Thread.sleep(PAUSE_MS << attempt);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while committing", error);
        }
    }
}
