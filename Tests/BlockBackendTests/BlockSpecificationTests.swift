import Base
import BlockBackend
import BlockInterface
import Testing

@Suite("How a backing is written")
struct BlockSpecificationTests {
    @Test(
        "Sizes have binary suffixes",
        arguments: [
            ("512", 512), ("64M", 64 << 20), ("1536K", 1536 << 10), ("2G", 2 << 30), ("3T", 3 << 40), ("8MiB", 8 << 20),
            ("1k", 1024), ("7B", 7),
        ] as [(String, UInt64)])
    func sizes(text: String, bytes: UInt64) { #expect(ByteSize.parse(text) == bytes) }

    @Test(
        "What is no size is none",
        arguments: ["", "M", "-1", "1.5G", "64X", "17000000T", "99999999999999999999", "1 M"])
    func noSizes(text: String) { #expect(ByteSize.parse(text) == nil) }

    @Test("Sizes are written in their shortest exact form")
    func format() {
        #expect(ByteSize.format(64 << 20) == "64M")
        #expect(ByteSize.format(1536 << 10) == "1536K")
        #expect(ByteSize.format(1000) == "1000")
        #expect(ByteSize.format(0) == "0")
    }

    @Test("Each form is read, and written as it was")
    func forms() throws {
        let forms: [(String, BlockSpecification)] = [
            ("/dev/nvme0n1", BlockSpecification(.path("/dev/nvme0n1"))),
            ("ram:64M", BlockSpecification(.ram(byteCount: 64 << 20))),
            ("ram:64M,populate", BlockSpecification(.ram(byteCount: 64 << 20), isPopulated: true)),
            ("ram:64M,latency=80us", BlockSpecification(.ram(byteCount: 64 << 20), latencyMicroseconds: 80)),
            ("null:1T,block=4096", BlockSpecification(.null(byteCount: 1 << 40), blockSize: 4096)),
            ("disk.img,readonly,buffered", BlockSpecification(.path("disk.img"), readOnly: true, buffered: true)),
            ("a\\,b,block=512", BlockSpecification(.path("a,b"), blockSize: 512)),
        ]
        for (text, specification) in forms {
            #expect(try BlockSpecification(parsing: text) == specification)
            #expect(specification.description == text)
        }
    }

    @Test(
        "What is wrong is said in one line",
        arguments: [
            ("", "'': a path, ram:SIZE or null:SIZE is needed"),
            ("ram:", "ram:: '' is no size; a number with K, M, G or T is, such as ram:64M"),
            ("null:big", "null:big: 'big' is no size; a number with K, M, G or T is, such as null:64M"),
            ("ram:0", "ram:0: '0' is no size; a number with K, M, G or T is, such as ram:64M"),
            (
                "ram:1M,block=1000",
                "ram:1M,block=1000: 'block=1000': a block size is a power of two from 512 to 65536, such as block=4096"
            ),
            (
                "f,fast",
                "f,fast: there is no option 'fast'; there are block=SIZE, readonly, buffered, populate and latency=TIME"
            ),
            ("f,latency=5us", "f,latency=5us: 'latency' is for ram: only"),
            (
                "ram:1M,latency=5",
                "ram:1M,latency=5: 'latency=5': a latency is from 1us to 10000000us, such as latency=80us"
            ),
            ("f,populate", "f,populate: 'populate' is for ram: only"),
            ("null:1M,populate", "null:1M,populate: 'populate' is for ram: only"),
            ("ram:1M,readonly", "ram:1M,readonly: 'readonly' and 'buffered' are for paths only"),
        ])
    func errors(text: String, message: String) {
        #expect(throws: TercetError.self) { try BlockSpecification(parsing: text) }
        do { _ = try BlockSpecification(parsing: text) } catch { #expect(error.description == message) }
    }

    @Test("Devices open by their form, under the name that a person would write")
    func open() throws {
        let ram = try BlockSpecification(parsing: "ram:1M,block=4096").open()
        #expect(ram.name == "ram:1M")
        #expect(ram.geometry.blockSize == 4096)
        #expect(ram.geometry.blockCount == 256)
        #expect(ram.directMemory?.count == 1 << 20)
        let null = try BlockSpecification(parsing: "null:1T").open()
        #expect(null.name == "null:1T")
        #expect(null.geometry.byteCount == 1 << 40)
        #expect(null.directMemory == nil)
        #expect(throws: TercetError.self) { try BlockSpecification(parsing: "ram:1000").open() }
        #expect(throws: TercetError.self) { try BlockSpecification(parsing: "/nonexistent/disk.img").open() }
    }
}
